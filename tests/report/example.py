"""Realistic and awkward `Results`, built from closed formulas so that every run is the same."""

from __future__ import annotations

import math

from allroads.records import (
    Agreement,
    Answer,
    AuditRow,
    Bin,
    Comparison,
    Duels,
    JudgedRoad,
    JudgeFailure,
    Judgement,
    LedgerRow,
    Mean,
    Metric,
    Point,
    Results,
    RewardModelRow,
    Sample,
    StageRow,
    Verdict,
)

HOSTILE = (
    "<script>alert('x')</script>\"'><img src=x onerror=alert(1)> </style></svg>]]> {{ 7*7 }} "
    "{% raw %} &amp; $a^2$ \u202eright to left\u202c שלום عربي 漢字 \x00\x1b --> #010101"
)
FRACTIONS = (0.25, 0.5, 0.75, 1.0)


def mean(value: float, half: float, seeds: int = 3, prompts: int | None = 400) -> Mean:
    """A mean with a symmetric interval, or none at one seed."""
    if seeds == 1:
        return Mean(value=value, seeds=1, prompts=prompts)
    return Mean(value=value, low=value - half, high=value + half, seeds=seeds, prompts=prompts)


def _points(seeds: int) -> list[Point]:
    """Reward rises with the root of KL and falls again; only scored roads have a proxy."""
    points = [_point("sft", "", None, 1.0, 0.0, 0.512, None, seeds, selected=True)]
    shapes = {
        "dpo": ("beta", (0.03, 0.1, 0.3), (14.2, 7.6, 3.1), 0.076, 0.0074, None),
        "best-of-n": ("N", (4.0, 16.0, 64.0), (0.61, 1.72, 2.95), 0.118, 0.011, 1.15),
        "online-dpo": ("beta", (0.03, 0.1, 0.3), (21.5, 9.8, 4.0), 0.094, 0.0093, 0.95),
        "rloo": ("beta", (0.03, 0.1, 0.3), (38.0, 12.4, 4.6), 0.101, 0.0118, 1.0),
    }
    for road, (knob, values, kls, gain, cost, proxy) in shapes.items():
        for rank, (value, end) in enumerate(zip(values, kls, strict=True)):
            for fraction in (1.0,) if knob == "N" else FRACTIONS:
                kl = end * fraction**1.3
                points.append(
                    _point(
                        road,
                        knob,
                        value,
                        fraction,
                        kl,
                        0.512 + gain * math.sqrt(kl) - cost * kl,
                        None if proxy is None else proxy * math.sqrt(kl) - 0.2,
                        seeds,
                        selected=fraction == 1 and rank == (2 if knob == "N" else 1),
                        oracle=fraction == 1 and rank == (2 if road in {"best-of-n"} else 1)
                        if road != "rloo"
                        else fraction == 1 and rank == 2,
                    )
                )
    return points


def _point(
    road: str,
    knob: str,
    value: float | None,
    fraction: float,
    kl: float,
    reward: float,
    proxy: float | None,
    seeds: int,
    *,
    selected: bool,
    oracle: bool = False,
) -> Point:
    bound = math.log(value) - (value - 1) / value if knob == "N" and value else None
    return Point(
        road=road,
        knob=knob,
        value=value,
        fraction=fraction,
        kl=mean(kl, 0.02 + 0.06 * kl, seeds),
        kl_bound=bound,
        reward=mean(reward, 0.021 + 0.0006 * kl, seeds),
        reward_train=mean(reward + 0.012 + 0.001 * kl, 0.019, seeds),
        proxy=None if proxy is None else mean(proxy, 0.12, seeds),
        selection=round(reward * 1.7 - 0.4, 4),
        length=mean(61.4 + 1.1 * kl, 2.3, seeds),
        no_eos=mean(0.004 + 0.0011 * kl, 0.003, seeds),
        selected=selected,
        oracle=oracle,
    )


def _reward_models(seeds: int) -> tuple[RewardModelRow, ...]:
    bins = tuple(
        Bin(predicted=p, observed=0.5 + (p - 0.5) * 0.8, count=round(900 * (1.05 - p)))
        for p in (0.53, 0.6, 0.68, 0.77, 0.86, 0.95)
    )
    flat = tuple(b.model_copy(update={"observed": 0.5 + (b.predicted - 0.5) * 0.55}) for b in bins)
    return (
        RewardModelRow(
            name="reward-model",
            kind="global",
            description="scalar head on the last token, fitted to the training pairs",
            accuracy=mean(0.731, 0.014, seeds, None),
            nll=mean(0.541, 0.012, seeds, None),
            ece=mean(0.034, 0.009, seeds, None),
            train_accuracy=mean(0.792, 0.008, seeds, None),
            train_nll=mean(0.447, 0.01, seeds, None),
            bins=bins,
            pairs=2000,
        ),
        RewardModelRow(
            name="dpo policy (beta 0.1)",
            kind="local",
            description="beta times the policy's log-ratio to its start",
            accuracy=mean(0.694, 0.016, seeds, None),
            nll=mean(0.597, 0.015, seeds, None),
            ece=mean(0.071, 0.012, seeds, None),
            train_accuracy=mean(0.853, 0.007, seeds, None),
            train_nll=mean(0.362, 0.011, seeds, None),
            bins=flat,
            pairs=2000,
        ),
        RewardModelRow(
            name="selection scorer",
            kind="selection",
            description="fitted to the selection pairs only",
            accuracy=mean(0.702, 0.018, seeds, None),
            nll=mean(0.574, 0.016, seeds, None),
            pairs=2000,
        ),
        RewardModelRow(
            name="longer wins",
            kind="baseline",
            description="prefers the longer completion",
            accuracy=mean(0.556, 0.013, seeds, None),
            pairs=2000,
        ),
    )


def _comparisons(seeds: int) -> tuple[Comparison, ...]:
    rows = (
        ("sft", "none", -0.143, 0.034, 0.0002, "worse"),
        ("best-of-n", "data", 0.014, 0.031, 0.31, "undecided"),
        ("online-dpo", "data", 0.052, 0.029, 0.011, "better"),
        ("rloo", "data", 0.057, 0.033, 0.014, "better"),
    )
    return tuple(
        Comparison.model_validate(
            {
                "road": road,
                "baseline": "dpo",
                "labeller": labeller,
                "difference": mean(value, half, seeds),
                "p_value": None if seeds == 1 else p,
                "p_holm": None if seeds == 1 else min(1.0, 2 * p),
                "margin": 0.02,
                "conclusion": "no verdict" if seeds == 1 else conclusion,
            }
        )
        for road, labeller, value, half, p, conclusion in rows
    )


def _samples() -> tuple[Sample, ...]:
    words = {
        "sft": "Put the dough in a warm place and wait. It will rise after some time.",
        "dpo": "Let the dough rise in a warm place for about an hour, until it has doubled. "
        "Press it lightly: if the dent stays, it is ready.",
        "best-of-n": "Cover the bowl and leave it for 60 to 90 minutes at 24 to 27 °C.",
        "online-dpo": "Cover the bowl with a damp cloth and leave it for 60 to 90 minutes. In a "
        "cool kitchen, use an oven with only its lamp on.",
        "rloo": "Great question! Cover the bowl with a damp cloth. Cover it well. Leave it for 60 "
        "to 90 minutes, and remember: patience, patience, patience makes the best bread,",
    }
    prompts = ("How long should bread dough rise, and how do I know that it is ready?",)
    prompts += ("Explain to a friend, in two sentences, why the sky is blue.",)
    return tuple(
        Sample(
            prompt=prompt,
            answers=tuple(
                Answer(
                    road=road,
                    text=text,
                    tokens=len(text) // 4,
                    finished=road != "rloo",
                    score=0.31 + 0.083 * k,
                )
                for k, (road, text) in enumerate(words.items())
            ),
        )
        for prompt in prompts
    )


def _ledger() -> tuple[LedgerRow, ...]:
    rows = (
        ("sft", 0, 0, 4.1e6, 0, 1.5e13, 64.0, 1),
        ("dpo", 8000, 0, 9.8e6, 0, 6.1e13, 243.0, 1),
        ("best-of-n", 8000, 25600, 7.9e6, 1.6e6, 5.3e13, 310.0, 64),
        ("online-dpo", 8000, 48000, 15.2e6, 2.9e6, 1.24e14, 1180.0, 1),
        ("rloo", 8000, 64000, 13.7e6, 3.9e6, 1.31e14, 7502.0, 1),
    )
    return tuple(
        LedgerRow(
            road=road,
            labels=labels,
            demonstrations=4000,
            scorer_queries=queries,
            outside_queries=0,
            tokens_trained=int(trained),
            tokens_sampled=int(sampled),
            flops=flops,
            seconds=seconds,
            peak_memory_mb=812.0 if road in {"sft", "dpo"} else 1430.0,
            answers_per_prompt=answers,
        )
        for road, labels, queries, trained, sampled, flops, seconds, answers in rows
    )


def _stages() -> tuple[StageRow, ...]:
    texts = (
        ("sft", "sft", "base", "demonstrations", "nobody", "as given", "likelihood"),
        ("dpo", "dpo", "sft", "preference pairs", "the data", "as given", "dpo, sigmoid"),
        ("rloo", "reward-model", "base", "preference pairs", "the data", "as given", "Bradley-T."),
        ("rloo", "rloo", "sft", "itself, every update", "reward-model", "whole group", "rloo"),
    )
    keys = ("road", "stage", "start", "source", "labeller", "pick", "objective")
    return tuple(StageRow(**dict(zip(keys, text, strict=True))) for text in texts)


def _duels(asked: int, wins: int, losses: int, slow: int) -> Duels:
    judged = asked - slow
    share = (wins + (judged - wins - losses) / 2) / judged
    failure = JudgeFailure(reason="time-out", count=slow, example="no answer within 60 s")
    return Duels(
        asked=asked,
        wins=wins,
        ties=judged - wins - losses,
        losses=losses,
        identical=3,
        failures=(failure,) if slow else (),
        share=mean(share, 0.09, 3, judged),
        disagreement=mean(0.21, 0.08, 3, judged),
        first=0.58,
        cut=2,
    )


def _judge() -> Judgement:
    roads = (("rloo", "beta", 0.1, 27, 10, 2), ("best-of-n", "N", 64.0, 22, 14, 0))
    return Judgement(
        model="judge-70b",
        served=("judge-70b-0901",),
        url="http://localhost:8000/v1/chat/completions",
        created="2026-11-20T15:10:00+00:00",
        version="0.1.0",
        template="Which is better?\n{prompt}\n{first}\n{second}",
        template_hash="0f3c2a9d1b7e4c55",
        temperature=0.0,
        max_tokens=8,
        max_chars=4000,
        seeds=(0,),
        start="sft",
        prompts=48,
        replies=388,
        seconds=0.42,
        people=Agreement(duels=_duels(100, 62, 18, 1), longer=0.63, longer_people=0.57),
        roads=tuple(
            JudgedRoad(
                road=road,
                knob=knob,
                value=value,
                duels=_duels(48, *counts),
                answers="77aa",
                stale=road == "best-of-n",
            )
            for road, knob, value, *counts in roads
        ),
    )


def results(seeds: int = 3) -> Results:
    """Five roads on a small world; with one seed, nothing can be decided."""
    verdict = Verdict(
        headline="A reward model plus online RL pays here: it beats offline DPO by about 0.05.",
        reasons=(
            "rloo is ahead of dpo by 0.057 (0.024 to 0.090), online-dpo by 0.052 (0.023 to 0.081).",
            "The reward model predicts held-out pairs better than DPO's own implicit reward: 73 % "
            "against 69 %.",
            "It costs about twice the compute of dpo, and no further human labels.",
        ),
        decided=True,
        rule="A road pays when the whole 95 % interval of its difference to dpo, adjusted for the "
        "number of comparisons, lies above zero.",
    )
    if seeds == 1:
        verdict = verdict.model_copy(
            update={
                "headline": "One seed shows no difference from luck: run at least three.",
                "reasons": (
                    "rloo is ahead of dpo by 0.057 in this seed, online-dpo by 0.052.",
                    "Without a second seed, nobody can say how much of that is luck.",
                ),
                "decided": False,
            }
        )
    return Results(
        title="Bread world: which road pays?",
        command="allroads compare prefs.jsonl --model base-60m --roads sft,dpo,best-of-n,"
        "online-dpo,rloo --betas 0.03,0.1,0.3 --seeds 3 --out runs/bread",
        created="2026-11-20 14:05 UTC",
        version="0.1.0",
        revision="3f9c2ab",
        data="prefs.jsonl, 8,000 pairs",
        model="base-60m",
        device="1 CPU core",
        seeds=tuple(range(seeds)),
        what_seeds_vary="A seed varies the order of the data, the sampling and the start of heads.",
        metric=Metric(
            name="true reward",
            unit="0 to 1",
            meaning="The mean score that the world's own rule gives to one sampled answer.",
            source="truth",
        ),
        kl_estimator="k1 on the policy's own samples, summed over tokens",
        verdict=verdict,
        comparisons=_comparisons(seeds),
        points=tuple(_points(seeds)),
        reward_models=_reward_models(seeds),
        samples=_samples(),
        audit=(
            AuditRow(what="pairs read", count=8412),
            AuditRow(what="over-long, dropped", count=301, of=8412, note="limit 512 tokens"),
            AuditRow(what="token-identical, dropped", count=111, of=8412),
            AuditRow(what="longer answer preferred", count=4457, of=8000, note="a length bias"),
        ),
        ledger=_ledger(),
        stages=_stages(),
        notes=("111 pairs were identical after tokenisation and were dropped.",),
        label_noise_nll=0.482,
        judge=_judge(),
    )


def bare() -> Results:
    """The least that the records allow: one road, nothing else."""
    full = results(seeds=1)
    empty = dict.fromkeys(
        ("comparisons", "reward_models", "samples", "audit", "ledger", "stages", "notes"), ()
    )
    lonely = full.points[0].model_copy(update={"reward_train": None, "selected": False})
    return full.model_copy(
        update=empty | {"points": (lonely,), "label_noise_nll": None, "revision": "", "judge": None}
    )


def crowd() -> Results:
    """Twelve roads with long names, absent intervals and numbers that are not numbers."""
    full = results()
    nan, points, comparisons = float("nan"), [], []
    for k in range(12):
        name = f"road-{k}-" + "withaverylongunbrokenname" * (1 + k % 3)
        for point in (p for p in full.points if p.road == "rloo"):
            reward = mean(point.reward.value - 0.02 * k, 0.02, seeds=2 + k % 3)
            points.append(point.model_copy(update={"road": name, "reward": reward}))
        rival = {"road": name, "baseline": "dpo" if k % 2 else "another-long-baseline"}
        comparisons.append(full.comparisons[k % 4].model_copy(update=rival))
    broken = Mean(value=nan, low=nan, high=nan, seeds=3, prompts=400)
    points.append(points[0].model_copy(update={"road": "broken", "reward": broken, "kl": broken}))
    points[5] = points[5].model_copy(update={"proxy": broken, "length": broken, "selection": nan})
    answers = tuple(
        Answer(road=p.road, text="x" * 30_000, tokens=10_000, finished=False, score=nan)
        for p in points[::12]
    )
    return full.model_copy(
        update={
            "points": tuple(points),
            "comparisons": tuple(comparisons),
            "samples": (Sample(prompt="a long prompt " * 900, answers=answers),),
            "command": "allroads compare " + "--flag=" * 60,
            "label_noise_nll": nan,
        }
    )


def hostile() -> Results:
    """Every string of the data tries to become markup, a template or a style."""
    return Results.model_validate(_poison(results().model_dump()))


def _poison(value: object, key: str = "") -> object:
    """The same tree with hostile text in every field that is free text."""
    if isinstance(value, dict):
        return {k: _poison(v, k) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_poison(item, key) for item in value)
    if isinstance(value, str) and key not in {"kind", "labeller", "source", "conclusion"}:
        return f"{value} {HOSTILE}"
    return value
