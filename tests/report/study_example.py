"""Studies made by hand: a whole one, one of a single seed, a hostile one, an empty one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from allroads import studies
from allroads.records import Mean
from allroads.studies import (
    ArmRow,
    BesideRow,
    ContrastRow,
    DifficultyRow,
    EqualsRow,
    FrontierPoint,
    LeadRow,
    ScorerRow,
    Study,
    VerdictRow,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROUTES = (
    "sft", "sft-chosen", "spin", "dpo", "dpo-2x", "dpo-cold", "dpo-reward-schedule",
    "dpo-relabelled", "dpo-samples", "dpo-samples-updates", "dpo-shuffled", "ipo", "simpo", "kto",
    "best-of-n", "best-of-n-local", "best-of-n@verifier", "online-dpo", "online-dpo-pair-prompts",
    "online-dpo-from-dpo", "online-dpo-batch", "online-dpo-batch-paper", "online-dpo-margin",
    "online-dpo-cold", "online-dpo-head-scratch", "online-dpo@local-rm", "online-dpo@verifier",
    "rloo", "grpo", "ppo",
)  # fmt: skip
FEW = ("sft", "dpo", "online-dpo", "online-dpo-pair-prompts")


def mean(value: float, half: float | None = 0.02, *, seeds: int = 5, prompts: int | None = 200):
    low, high = (None, None) if half is None else (value - half, value + half)
    return Mean(value=value, low=low, high=high, seeds=seeds, prompts=prompts)


def row_of(
    claim: str, estimate: Mean | None, outcome: str, delta: float = 0.03, **changes: Any
) -> studies.TestRow:
    fields = {
        "words": "reward of online-dpo minus dpo on routes",
        "unit": "true reward, 0 to 1",
        "claim": claim,
        "delta": delta,
        "estimate": estimate,
        "outcome": outcome,
        "p_holds": None if estimate is None else 0.0123,
        "p_fails": None if estimate is None else 1.0,
        "problem": "" if estimate else "dpo, seed 1003: not run at its tuned setting",
        "detectable": 0.041,
    }
    return studies.TestRow.model_validate(fields | changes)


def verdict(name: str, conclusion: str, *tests: studies.TestRow, **changes: Any) -> VerdictRow:
    p = changes.pop("p", 0.0004)
    fields = {
        "hypothesis": name,
        "kind": "hypothesis",
        "title": "verifying is simpler than generating",
        "claim": "Two stages win because a simple verifier is learnt from few pairs, and only "
        "answers that are optimal for simple verifiers are then searched.",
        "prediction": "the advantage of online DPO vanishes where goals are one road away",
        "source": "Swamy et al. 2025, arXiv:2503.01067",
        "variant": "routes",
        "conclusion": conclusion,
        "reason": "Reward of online-dpo minus dpo on routes is +0.12 [+0.08, +0.16] (5 seeds).",
        "premises": (),
        "tests": tests,
        "seeds": (1000, 1001, 1002, 1003, 1004),
        "confirmed": COMMIT,
        "p_supported": p if conclusion in ("supported", "undecided") else 1.0,
        "p_refuted": p if conclusion == "refuted" else 1.0,
    }
    return VerdictRow.model_validate(fields | changes)


def verdicts() -> tuple[VerdictRow, ...]:
    gap = row_of("above", mean(0.12, 0.04), "holds")
    nats = {"words": "NLL of reward-model-distilled minus reward-model on test pairs of routes",
            "unit": "nats a pair", "delta": 0.005}  # fmt: skip
    twice = ("(accuracy of reward-model minus local-rm on paraphrased pairs of routes-dialects) "
             "minus (the same on test pairs)")  # fmt: skip
    pairs = {"unit": "share of held-out pairs", "delta": 0.02}
    hop = {"words": "reward of online-dpo minus dpo on routes-hop"}
    control = {"kind": "control", "premises": (gap,)}
    return (
        verdict("gap", "supported", gap, title="two stages beat likelihood",
                paper="TL;DR, Pythia 1.4B: 49.7 against 56.1 % wins."),
        verdict("H1", "refuted", row_of("below", mean(0.002, 0.004), "fails", **nats),
                title="samples carry information of their own"),
        verdict("H2", "undecided", row_of("within", mean(0.02, 0.05), "open"), premises=(gap,),
                title="offline training regularises badly", more_seeds=17, p=0.31),
        verdict("H3", "undecided", row_of("above", mean(0.01, 0.06), "open"),
                title="online optimisation is easier", variant="routes-third", p=1.0,
                seeds=(1, 2, 3), confirmed=""),
        verdict("H4", "no test", row_of("above", None, "no estimate"),
                row_of("within", None, "no estimate"), seeds=(),
                premises=(row_of("above", mean(-0.02, 0.03), "fails"),),
                title="reward models can use wider data", variant="routes-wide"),
        verdict("H5", "supported", row_of("above", mean(0.05, 0.02), "holds", **pairs),
                row_of("above", mean(0.2, 0.05), "holds",
                         words="reward of best-of-n minus best-of-n-local on routes"),
                title="global reward models generalise better"),
        verdict("H5", "undecided",
                row_of("above", mean(0.03, 0.04), "open", words=twice, **pairs),
                title="global reward models generalise better", variant="routes-dialects"),
        verdict("H6", "supported", row_of("within", mean(0.004, 0.02), "holds", **hop),
                premises=(gap, row_of("at least", mean(0.1, 0.03), "holds",
                                        words="reward of dpo minus sft on routes-hop")),
                variant="routes-hop"),
        verdict("H6", "no test", row_of("within", mean(0.1, 0.02), "fails"), variant="secret",
                premises=(gap, row_of("at least", mean(0.0, 0.03), "open",
                                        words="reward of dpo minus sft on secret"))),
        verdict("coverage", "refuted", row_of("below", mean(0.09, 0.05), "fails"),
                kind="rival", title="offline training needs global coverage"),
        verdict("token-cues", "undecided", row_of("above", mean(0.05, None, seeds=1), "open"),
                kind="rival", seeds=(1000,), title="implicit rewards rest on token cues"),
        verdict("relabelled", "refuted", row_of("within", mean(-0.08, 0.03), "fails"),
                title="labels of the reward model", **control),
        verdict("margin", "supported", row_of("within", mean(0.0, 0.02), "holds"),
                title="margins as offline", **control),
        verdict("ppo", "undecided", row_of("above", mean(0.06, 0.11), "open"),
                title="another online loss, with a critic", more_seeds=9, **control),
    )  # fmt: skip


def arm(name: str, variant: str, index: int, *, seeds: int = 5, points: int = 3) -> ArmRow:
    half = 0.03 if seeds > 1 else None
    top = 0.64 + 0.2 * math.sin(index)
    frontier = []
    for k in range(points if name != "sft" else 1):
        for fraction in (0.5, 1.0):
            reach = (k + fraction) / points
            kl = 0.0 if name == "sft" else (1 + index % 5) * reach**2
            reward = 0.6 + (top - 0.6) * math.sin(2.4 * reach)
            frontier.append(
                FrontierPoint(
                    value=(2.0, 0.7, 0.2)[k % 3],
                    fraction=fraction,
                    kl=mean(kl, half and 0.1, seeds=seeds),
                    reward=mean(reward, half, seeds=seeds),
                    chosen=k == 1 and fraction == 1,
                )
            )
    best = max(p.reward.value for p in frontier)
    chosen = next((p for p in frontier if p.chosen), frontier[-1])
    return ArmRow(
        variant=variant,
        arm=name,
        setting="beta 0.7, rate x2, after 100 %",
        trials=12,
        reward=chosen.reward,
        forgone=best - chosen.reward.value,
        kl=chosen.kl,
        length=mean(7.5, half and 0.4, seeds=seeds),
        no_eos=mean(0.01, half and 0.004, seeds=seeds),
        outside="verifier" in name,
        flops=3.2e12 * (1 + index),
        seconds=40.0 * (1 + index),
        frontier=tuple(frontier),
    )


def beside(words: str, paper: Mean, ours: Mean | None, **changes: Any) -> BesideRow:
    """With main gaps of 6.4 percentage points and 0.12, both clear of zero."""
    fields = {
        "words": words,
        "where": "TL;DR, Pythia 1.4B",
        "numbers": "56.1 against 49.7 %",
        "unit": "percentage points of wins",
        "paper": paper,
        "paper_gap": mean(6.4, 5.6, seeds=1, prompts=600),
        "ours_words": "reward of online-dpo minus dpo on routes",
        "ours": ours,
        "our_gap": ours and mean(0.12, 0.04),
        "differs": "One batch there, fresh pairs here.",
    }
    return BesideRow.model_validate(fields | changes)


def beside_rows() -> tuple[BesideRow, ...]:
    """Both sides; nothing of ours; no cell of ours yet; a gap of ours that is none; no spread."""
    once = {"seeds": 1, "prompts": 600}
    return (
        beside("Online DPO minus DPO", mean(6.4, 5.6, **once), mean(0.12, 0.04)),
        beside("Online DPO minus DPO, 2.8B", mean(5.9, 5.6, **once), None, ours_words=""),
        beside("More prompts", mean(0.5, 5.6, **once), None),
        beside("Two words", mean(1.3, 4.7, **once), mean(0.004, 0.02), our_gap=mean(0.02, 0.03)),
        beside("ROUGE-L", mean(-0.002, None, seeds=1, prompts=None), None, paper_gap=None),
    )


def study(names: Sequence[str] = FEW) -> Study:
    """Every verdict; these arms on one world, and some on another."""
    arms = [arm(name, "routes", k) for k, name in enumerate(names)]
    arms += [arm(n, "routes-hop", k) for k, n in enumerate(("sft", "dpo", "online-dpo"))]
    chain = [n for n in names if n not in ("sft", "dpo")][:14]
    return Study(
        created="2026-11-23",
        version="0.1.0",
        revision="abc1234",
        command="allroads lab report --results results",
        rule="A hypothesis is supported when each test holds, refuted when one fails; Holm at 5 % "
        "over the family.",
        verdicts=verdicts(),
        arms=tuple(arms),
        contrasts=tuple(
            ContrastRow(
                variant="routes",
                arm=name,
                neighbour="dpo" if name.startswith("dpo") else "online-dpo",
                field="last.source: samples of sft against the data's pairs",
                difference=mean(0.1 * math.sin(k), 0.04),
            )
            for k, name in enumerate(chain)
        ),
        scorers=tuple(
            ScorerRow(
                variant="routes-dialects",
                scorer=scorer,
                on=on,
                accuracy=mean(value, 0.02, prompts=None),
                nll=mean(0.9 - value / 2, 0.02, prompts=None),
            )
            for scorer, values in (("reward-model", (0.8, 0.74)), ("local-rm", (0.75, 0.52)))
            for on, value in zip(("test", "paraphrased"), values, strict=True)
        ),
        leads=tuple(
            LeadRow(variant=name, lead=mean(lead, None), search=mean(search), online=mean(online))
            for name, lead, search, online in (
                ("routes", 0.08, 0.14, 0.05),
                ("preimage", 0.02, 0.03, -0.01),
                ("secret", -0.17, -0.12, -0.05),
                ("routes-hop", 0.04, 0.05, 0.1),
            )
        ),
        difficulties=tuple(
            DifficultyRow(
                variant=name,
                pairs=pairs,
                demonstrations=demonstrations,
                words="scalar head right on 90 % of pairs; policy right on 80 % of prompts",
            )
            for name, pairs, demonstrations in (
                ("routes", mean(180, 60, prompts=None), mean(2600, 700, prompts=None)),
                ("routes-hop", mean(220, 80, prompts=None), mean(300, 90, prompts=None)),
                ("secret", None, mean(2400, 600, prompts=None)),
                ("preimage", mean(900, 300, prompts=None), None),
            )
        ),
        equals=(
            EqualsRow(
                words="40 runs of dpo, 5 against 5; a false alarm of the check itself in 2.7 %",
                draws=200, claims=7, bound=0.1, passes=True,
            ),
        ),
        paper=beside_rows(),
        left_out=("PPO with 5 seeds on secret: 3 hours of two cores.",),
        notes=("2 cells failed and are left out with their settings.",),
    )  # fmt: skip


def single() -> Study:
    """One seed: no interval anywhere."""
    return Study(
        created="2026-11-23",
        version="0.1.0",
        revision="",
        command="allroads lab report",
        rule="Fixed.",
        verdicts=(
            verdict("gap", "undecided", row_of("above", mean(0.1, None, seeds=1), "open"),
                    seeds=(1,), confirmed="", p=1.0),
        ),
        arms=tuple(arm(n, "routes", k, seeds=1) for k, n in enumerate(("sft", "dpo"))),
        contrasts=(
            ContrastRow(variant="routes", arm="dpo-2x", neighbour="dpo", field="epochs",
                        difference=mean(0.01, None, seeds=1)),
        ),
        scorers=(),
    )  # fmt: skip


def empty() -> Study:
    """Nothing was run."""
    return single().model_copy(update={"verdicts": (), "arms": (), "contrasts": ()})


HOSTILE = "<script>alert('x')</script> & $x^2$ {{ 7*7 }} §0§ | a\nb"


def hostile() -> Study:
    """Every text of a study is markup, and far too long; numbers are missing."""
    whole, text = study(), HOSTILE * 3
    bad = Mean(value=float("nan"), low=float("-inf"), high=float("inf"), seeds=3)
    test = row_of("above", bad, "open", words=text, unit=text)
    row = verdict(text, "no test", test, row_of("within", None, "no estimate", words=text),
                  premises=(test,), title=text, claim=text, prediction=text, source=text,
                  variant=text, reason=text, confirmed=text, paper=text)  # fmt: skip
    control = row.model_copy(update={"kind": "control"})
    first = arm("dpo", text, 1).model_copy(update={"arm": text, "setting": text})
    point = first.frontier[0].model_copy(update={"reward": bad})
    first = first.model_copy(update={"frontier": (*first.frontier, point)})
    contrast = ContrastRow(variant=text, arm=text, neighbour=text, field=text,
                           difference=mean(0.1))  # fmt: skip
    other = {"words": text, "where": text, "numbers": text, "unit": text, "ours_words": text}
    return whole.model_copy(
        update={
            "created": text,
            "command": text,
            "rule": text,
            "verdicts": (row, control),
            "arms": (first,),
            "contrasts": (contrast, contrast.model_copy(update={"difference": bad})),
            "scorers": (whole.scorers[0].model_copy(update={"scorer": text, "variant": text}),),
            "leads": (whole.leads[0].model_copy(update={"variant": text, "lead": bad}),),
            "difficulties": (
                whole.difficulties[0].model_copy(update={"variant": text, "words": text}),
            ),
            "equals": (whole.equals[0].model_copy(update={"words": text, "draws": 0}),),
            "paper": (whole.paper[0].model_copy(update={**other, "differs": text}),),
            "left_out": (text,),
            "notes": (text,),
        }
    )
