"""The tables of the studies as plain values: the template only lays them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

from allroads.records import Mean
from allroads.report import numbers
from allroads.report.tables import Cell, Table, measured, share
from allroads.studies import ArmRow, BesideRow, ContrastRow, Study, TestRow, VerdictRow

CONFIRMED, EXPLORED, NOT_RUN = "confirmed", "exploratory", "not run in full"
"""What a verdict rests on: the only one that decides, and the others."""
_SIGNS = {"above": "above 0; counts from", "below": "below 0; counts from",
          "within": "within ±", "at least": "at least"}  # fmt: skip
_FIRM = "\N{NO-BREAK SPACE}"


def status(verdict: VerdictRow) -> str:
    """Whether it decides anything."""
    if any(test.estimate is None for test in (*verdict.premises, *verdict.tests)):
        return NOT_RUN
    return CONFIRMED if verdict.confirmed else EXPLORED


def word(verdict: VerdictRow) -> str:
    """The conclusion, and whether it decides anything."""
    found = status(verdict)
    return verdict.conclusion if found == CONFIRMED else f"{verdict.conclusion}, {found}"


def claimed(test: TestRow) -> str:
    """For example 'above 0; counts from 0.03'."""
    sign = "\N{MINUS SIGN}" if test.claim == "below" else ""
    size = numbers.number(test.delta)
    apart = "" if test.claim == "within" else _FIRM
    return f"{_SIGNS[test.claim]}{apart}{sign}{size}"


def verdict_cell(verdict: VerdictRow) -> Cell:
    """The conclusion's word, in its tone, and the commit that makes it one."""
    found = status(verdict)
    return Cell(
        text=verdict.conclusion,
        sub=(f"{found}, {verdict.confirmed[:12]}" if found == CONFIRMED else found,),
        tone=verdict.conclusion.replace(" ", "-"),
    )


def of_verdicts(rows: Sequence[VerdictRow]) -> Table:
    """One row for each hypothesis and world."""
    return Table(
        caption="One row for each hypothesis and world. Effects with their 95 % intervals, each "
        "against what was claimed of it. Holm p: of the conclusion, over its family; where "
        "undecided, the smaller of both. What is exploratory "
        "decides nothing.",
        columns=("Hypothesis", "World", "Verdict", "Effect", "Claimed", "Holm p",
                 "Seeds"),
        rows=tuple(_verdict_row(row) for row in rows),
        words=(1, 2, 4),
    )  # fmt: skip


def _verdict_row(row: VerdictRow) -> tuple[Cell, ...]:
    several = len(row.tests) > 1
    effects = [_effect(test) for test in row.tests]
    return (
        Cell(text=row.hypothesis, sub=(row.title,)),
        Cell(text=row.variant),
        verdict_cell(row),
        effects[0] if len(effects) == 1 else Cell(
            text=f"{len(effects)} tests" if several else numbers.NOTHING,
            sub=tuple(" ".join((e.text, *(f"({s})" for s in e.sub))) for e in effects),
        ),
        Cell(text=claimed(row.tests[0]) if len(row.tests) == 1 else "each" if several else "",
             sub=tuple(claimed(test) for test in row.tests) if several else ()),
        _p(_of_conclusion(row)),
        Cell(text=str(len(row.seeds)), sub=(*_seeds(row.seeds), *_more(row))),
    )  # fmt: skip


def _of_conclusion(row: VerdictRow) -> float | None:
    """The Holm-adjusted p of the conclusion; where there is none, the smaller of the two."""
    both = {"supported": row.p_supported, "refuted": row.p_refuted,
            "undecided": min(row.p_supported, row.p_refuted)}  # fmt: skip
    return both.get(row.conclusion)


def _effect(test: TestRow) -> Cell:
    if test.estimate is None:
        return Cell(text="no estimate")
    return measured(test.estimate, numbers.size_of(test.estimate), sign=True)


def _p(p: float | None) -> Cell:
    """A p-value without its letter."""
    return Cell(text=numbers.p_value(p).removeprefix("p").strip(f"={_FIRM}") or numbers.NOTHING)


def _seeds(seeds: Sequence[int]) -> tuple[str, ...]:
    """For example '1000 to 1004'."""
    if not seeds:
        return ()
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return (f"{ordered[0]} to {ordered[-1]}",)
    return (", ".join(map(str, ordered)),)


def _more(row: VerdictRow) -> tuple[str, ...]:
    return () if row.more_seeds is None else (f"{row.more_seeds} would decide",)


def of_tests(rows: Sequence[VerdictRow]) -> Table:
    """Every premise and test."""
    tests = [
        (row, "premise" if premise else "test", test)
        for row in rows
        for premise, tests in ((True, row.premises), (False, row.tests))
        for test in tests
    ]
    return Table(
        caption="Each p of this test alone, not adjusted. Found with 80 % power: the smallest "
        "effect that this design sets apart from zero in four of five repetitions.",
        columns=("Statistic", "Of", "Part", "Estimate", "Claimed", "Outcome", "p, holds",
                 "p, fails", "Found with 80 % power"),
        rows=tuple(
            (
                Cell(text=test.words, sub=(test.unit, *filter(None, (test.problem,)))),
                Cell(text=f"{row.hypothesis}, {row.variant}"),
                Cell(text=part),
                measured(test.estimate, sign=True),
                Cell(text=claimed(test)),
                Cell(text=test.outcome),
                _p(test.p_holds),
                _p(test.p_fails),
                Cell(text=numbers.number(test.detectable, 2)),
            )
            for row, part, test in tests
        ),
        words=(1, 2, 4, 5),
    )  # fmt: skip


def of_contrasts(rows: Sequence[ContrastRow]) -> Table:
    """Arms that differ in one field."""
    usual = numbers.usual_size(row.difference for row in rows)
    return Table(
        caption=f"{usual} behind each number unless the cell says otherwise; paired by seed and "
        "prompt, not adjusted for their number.",
        columns=("Arm", "Minus", "The one field", "Difference in true reward"),
        rows=tuple(
            (
                Cell(text=row.arm),
                Cell(text=row.neighbour),
                Cell(text=row.field),
                measured(row.difference, usual, sign=True),
            )
            for row in rows
        ),
        words=(1, 2),
    )


def of_arms(rows: Sequence[ArmRow]) -> Table:
    """Every arm of one world at its tuned setting."""
    usual = numbers.usual_size(row.reward for row in rows)
    return Table(
        caption=f"{usual} behind each number unless the cell says otherwise. Forgone by "
        "selection: what the setting that the truth prefers had more, on the tuning seeds.",
        columns=("Arm", "Setting", "True reward, held-out", "Forgone by selection",
                 "KL from start, nats", "Length, tokens", "Cut off", "FLOP", "Time"),
        rows=tuple(
            (
                Cell(text=row.arm, sub=("labelled from outside",) if row.outside else ()),
                Cell(text=row.setting, sub=(f"chosen among {row.trials}",)),
                measured(row.reward, usual),
                Cell(text=numbers.number(row.forgone)),
                measured(row.kl, usual),
                measured(row.length, usual),
                share(row.no_eos, usual),
                Cell(text=numbers.scientific(row.flops)),
                Cell(text=numbers.duration(row.seconds)),
            )
            for row in rows
        ),
        words=(1,),
    )  # fmt: skip


def of_frontiers(rows: Sequence[ArmRow]) -> Table:
    """The points behind the panels of one world."""
    return Table(
        caption="Every setting and moment at the learning rate that was tuned for the arm, on the "
        "tuning seeds.",
        columns=("Arm", "Setting", "Training done", "KL, nats", "True reward", "Mark"),
        rows=tuple(
            (
                Cell(text=row.arm),
                Cell(text=numbers.number(point.value)),
                Cell(text=f"{numbers.number(100 * point.fraction)}{_FIRM}%"),
                measured(point.kl, numbers.size_of(point.kl)),
                measured(point.reward, numbers.size_of(point.reward)),
                Cell(text="tuned" if point.chosen else ""),
            )
            for row in rows
            for point in row.frontier
        ),
        words=(5,),
    )


def of_scorers(study: Study) -> Table:
    """How well each scorer orders held-out pairs, world by world."""
    usual = numbers.usual_size(row.accuracy for row in study.scorers)
    return Table(
        caption=f"{usual} behind each number unless the cell says otherwise. NLL in nats a pair: "
        "0.693 is a coin.",
        columns=("Scorer", "World", "Held-out pairs", "Accuracy", "NLL"),
        rows=tuple(
            (
                Cell(text=row.scorer),
                Cell(text=row.variant),
                Cell(text=row.on),
                share(row.accuracy, usual),
                measured(row.nll, usual),
            )
            for row in study.scorers
        ),
        words=(1, 2),
    )


def of_leads(study: Study) -> Table:
    """The verifier's lead and what the roads gain over likelihood."""
    usual = numbers.usual_size(row.lead for row in study.leads)
    return Table(
        caption=f"{usual} behind each number unless the cell says otherwise. Lead: held-out "
        "accuracy of the reward model minus that of offline DPO read as one. Gains: true reward "
        "minus offline DPO's, in the unit of the world.",
        columns=("World", "Lead of the verifier", "Gain of best-of-n", "Gain of online-dpo"),
        rows=tuple(
            (
                Cell(text=row.variant),
                *(measured(mean, usual, sign=True) for mean in (row.lead, row.search, row.online)),
            )
            for row in study.leads
        ),
    )


def leads_words(study: Study) -> str:
    """How often, and how closely, the lead says what a road gains; '' for fewer than 3 worlds."""
    rows = study.leads
    if len(rows) < 3:
        return ""
    lead = [row.lead.value for row in rows]
    parts = []
    for road, gains in (
        ("best-of-n", [row.search.value for row in rows]),
        ("online-dpo", [row.online.value for row in rows]),
    ):
        alike = sum((a > 0) == (b > 0) for a, b in zip(lead, gains, strict=True))
        parts.append(
            f"the gain of {road} has the sign of the lead on {alike} of {len(rows)} worlds, rank "
            f"correlation {numbers.fixed(_rank_correlation(lead, gains), 2)}"
        )
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def gap(study: Study, variant: str) -> float | None:
    """Reward of online-dpo minus that of dpo on a world, each at its tuned setting."""
    rewards = {row.arm: row.reward.value for row in study.arms if row.variant == variant}
    if not {"online-dpo", "dpo"} <= rewards.keys():
        return None
    return numbers.finite(rewards["online-dpo"] - rewards["dpo"])


def gap_words(study: Study, variant: str) -> str:
    """The gap, or that it is not known."""
    found = gap(study, variant)
    return "not known" if found is None else numbers.fixed(found, 3, sign=True)


def amount(mean: Mean | None) -> str:
    """How many examples, or that it was not enough."""
    return "more than was tried" if mean is None else numbers.value_of(mean)


def of_difficulties(study: Study) -> Table:
    """What fixed learners needed on each world."""
    return Table(
        caption="Examples that a fixed learner needs; the gap is online-dpo minus dpo in true "
        "reward.",
        columns=("World", "Noiseless pairs to verify", "Demonstrations to generate", "Gap",
                 "Learners and levels"),
        rows=tuple(
            (
                Cell(text=row.variant),
                *(Cell(text=amount(m)) if m is None else measured(m)
                  for m in (row.pairs, row.demonstrations)),
                Cell(text=gap_words(study, row.variant)),
                Cell(text=row.words),
            )
            for row in study.difficulties
        ),
        words=(4,),
    )  # fmt: skip


def of_equals(study: Study) -> Table:
    """Equal roads compared as if they were two."""
    return Table(
        caption="Studies drawn from one pool of runs of the same road: each claim of a difference "
        "is a false alarm.",
        columns=("What was compared", "Studies drawn", "Claims", "Share", "Fails from", "Passes"),
        rows=tuple(
            (
                Cell(text=row.words),
                Cell(text=numbers.count(row.draws)),
                Cell(text=numbers.count(row.claims)),
                Cell(text=f"{numbers.number(100 * row.claims / row.draws)}{_FIRM}%"
                     if row.draws else numbers.NOTHING),
                Cell(text=f"{numbers.number(100 * row.bound)}{_FIRM}%"),
                Cell(text="yes" if row.passes else "no",
                     tone="supported" if row.passes else "refuted"),
            )
            for row in study.equals
        ),
        words=(5,),
    )  # fmt: skip


def of_beside(rows: Sequence[BesideRow]) -> Table:
    """The paper's differences and ours, unscaled."""
    return Table(
        caption="The paper's intervals are computed from 600 judged prompts an arm, as if the two "
        "arms had been judged on different ones, and know nothing of the luck of a training run; "
        "ours are over seeds and prompts.",
        columns=("The paper's difference", "Its numbers", "Paper", "Ours",
                 "What is not comparable"),
        rows=tuple(
            (
                Cell(text=row.words, sub=(row.where,)),
                Cell(text=row.numbers, sub=(row.unit,)),
                measured(row.paper, numbers.size_of(row.paper), sign=True),
                _ours(row),
                Cell(text=row.differs),
            )
            for row in rows
        ),
        words=(1, 4),
    )  # fmt: skip


def _ours(row: BesideRow) -> Cell:
    cell = measured(row.ours, numbers.size_of(row.ours) if row.ours else "", sign=True)
    return cell if row.ours is None else Cell(text=cell.text, sub=(*cell.sub, row.ours_words))


def worlds(rows: Iterable[ArmRow | ContrastRow]) -> list[str]:
    """Their worlds, in the order in which they come."""
    return list(dict.fromkeys(row.variant for row in rows))
