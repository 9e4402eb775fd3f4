"""From the lines to the page: verdicts, arms, contrasts and scorers as records."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from allroads import stats
from allroads.evaluation import scorers
from allroads.lab.folder import revision, version_of
from allroads.lab.selection import PRICE
from allroads.lab.study import rules
from allroads.lab.study.beside import beside, measured_on
from allroads.lab.study.curves import LEVEL, crossing
from allroads.lab.study.equals import equals
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.leads import leads
from allroads.lab.study.lines import Moment, ScorerLine, Store
from allroads.lab.study.measured import NoEstimate, first_seeds
from allroads.lab.study.registration import registered
from allroads.lab.study.running import CONFIRMATORY
from allroads.lab.study.statistics import Difference
from allroads.lab.study.table import TUNING, Setting, Table
from allroads.lab.study.variants import VARIANTS
from allroads.lab.verdict import to_mean
from allroads.records import Mean
from allroads.roads.atlas import CHAIN, all_controls, every_road
from allroads.roads.differences import one_field
from allroads.roads.relabel import AT, named
from allroads.studies import (
    ArmRow,
    ContrastRow,
    DifficultyRow,
    FrontierPoint,
    ScorerRow,
    Study,
    TestRow,
    VerdictRow,
)

RULE = (
    "Every arm is taken at the setting that the selection scorer prefers, at a price of "
    f"{PRICE:g} log-odds for a nat of KL, on two tuning seeds that no verdict reads. A hypothesis "
    "is supported when each of its tests holds, refuted when one fails, else undecided; where a "
    "premise does not hold the world is no test. 'Above d' holds when the two-way (seed, prompt) "
    "95 % interval lies above 0, and fails when it lies below d; 'within d' holds when the 90 % "
    "interval lies inside +-d (two one-sided tests), and fails when the 95 % interval leaves out "
    "0. p-values are Holm-adjusted within three families: the paper's hypotheses, their rivals, "
    "the controls."
)


def study_of(
    hypotheses: Sequence[Hypothesis],
    results: Path,
    seeds: tuple[int, ...],
    left_out: Sequence[str] = (),
) -> Study:
    """Everything that is known about some hypotheses, from the finished cells alone.

    Args:
        hypotheses: they are one family: Holm's adjustment goes over all their cases.
        results: folder of lines.
        seeds: those that are read.
        left_out: what was asked for and not run, in sentences.
    """
    store = Store(results)
    table = Table(store)
    cases = [(one, case) for one in hypotheses for case in one.cases]
    variants = store.variants()
    return Study(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version_of("allroads"),
        revision=revision(),
        command="allroads lab report",
        rule=RULE,
        verdicts=_verdicts(cases, table, seeds, results),
        arms=tuple(row for name in variants for row in _arms(table, name, seeds)),
        contrasts=tuple(row for name in variants for row in _contrasts(table, name, seeds)),
        scorers=tuple(row for name in variants for row in _scorers(store, table, name, seeds)),
        leads=leads(table, variants, seeds),
        difficulties=tuple(
            row for name in variants if (row := _difficulty(store, name)) is not None
        ),
        paper=beside(measured_on(table, seeds)),
        equals=tuple(row for name in variants for row in equals(store, name)),
        left_out=tuple(left_out),
    )


def text_of(study: Study, shown: Collection[tuple[str, str]] | None = None) -> str:
    """The verdicts as lines for a terminal; `shown` are (hypothesis, variant), all if not said."""
    out = []
    for row in study.verdicts:
        if shown is not None and (row.hypothesis, row.variant) not in shown:
            continue
        status = f"confirmed at {row.confirmed}" if row.confirmed else "exploratory"
        out.append(f"{row.hypothesis} on {row.variant}: {row.conclusion} ({status})")
        out.append(f"    {row.prediction}. {row.reason}")
    out += [f"Left out: {sentence}" for sentence in study.left_out]
    return "\n".join(out)


def _verdicts(
    cases: Sequence[tuple[Hypothesis, Case]], table: Table, seeds: tuple[int, ...], results: Path
) -> tuple[VerdictRow, ...]:
    examined = [
        rules.Case(
            name=f"{one.name} on {case.variant}",
            premises=tuple(rules.examine(t, table, _read_by(t, seeds)) for t in case.premises),
            tests=tuple(rules.examine(t, table, _read_by(t, seeds)) for t in case.tests),
        )
        for one, case in cases
    ]
    confirmed = registered(results) if min(seeds) >= CONFIRMATORY else {}
    kinds = [one.kind for one, _ in cases]
    judged = _in_families(examined, kinds)
    out = []
    for (one, case), seen, verdict in zip(cases, examined, judged, strict=True):
        registration = confirmed.get(one.name)
        out.append(
            VerdictRow(
                hypothesis=one.name,
                kind=one.kind,
                title=one.title,
                claim=one.claim,
                prediction=one.prediction,
                source=one.source,
                variant=case.variant,
                conclusion=verdict.verdict,
                reason=verdict.reason,
                premises=tuple(map(_test_row, seen.premises, verdict.premises)),
                tests=tuple(map(_test_row, seen.tests, verdict.tests)),
                p_supported=verdict.p_supported_holm,
                p_refuted=verdict.p_refuted_holm,
                seeds=min((_read_by(test, seeds) for test in case.tests), key=len),
                confirmed="" if registration is None else registration.revision,
                more_seeds=verdict.seeds_to_decide,
                paper=case.paper,
            )
        )
    return tuple(out)


def _read_by(test: rules.Test, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds that its worlds afford."""
    most = min(VARIANTS[need.variant].most_seeds for need in test.statistic.needs)
    return seeds[:most]


def _in_families(cases: Sequence[rules.Case], families: Sequence[str]) -> list[rules.Verdict]:
    """Each case judged in its family, in the order given."""
    found: dict[int, rules.Verdict] = {}
    for family in set(families):
        places = [at for at, name in enumerate(families) if name == family]
        verdicts = rules.verdicts([cases[at] for at in places])
        found |= dict(zip(places, verdicts, strict=True))
    return [found[at] for at in range(len(cases))]


def _test_row(evidence: rules.Evidence, row: rules.TestRow) -> TestRow:
    claim, estimate = evidence.test.claim, evidence.estimate
    return TestRow(
        words=evidence.test.statistic.words,
        unit=evidence.test.statistic.unit,
        claim=claim.kind,
        delta=claim.delta,
        estimate=None if estimate is None else to_mean(estimate),
        outcome=row.outcome,
        p_holds=row.p_holds,
        p_fails=row.p_fails,
        detectable=row.mde,
        problem=row.problem,
    )


def _arms(table: Table, variant: str, seeds: Sequence[int]) -> list[ArmRow]:
    out = []
    for arm in table.arms(variant):
        try:
            setting = table.setting(variant, arm)
            own, moments = first_seeds(seeds, partial(table.moments, variant, arm))
        except NoEstimate:
            continue
        out.append(
            ArmRow(
                variant=variant,
                arm=arm,
                setting=_words(setting),
                trials=setting.trials,
                reward=_crossed(np.array([one.reward for one in moments])),
                forgone=table.forgone(variant, arm),
                kl=_over_seeds(moments, "kl"),
                length=_over_seeds(moments, "length"),
                no_eos=_over_seeds(moments, "no_eos"),
                outside=table.outside(variant, arm),
                flops=table.flops(variant, arm, own),
                seconds=table.seconds(variant, arm, own),
                frontier=tuple(_frontier(table, variant, arm)),
            )
        )
    return out


def _frontier(table: Table, variant: str, arm: str) -> list[FrontierPoint]:
    """Of the tuning seeds, which alone have every setting of every arm; two allow no interval."""
    setting = table.setting(variant, arm)
    return [
        FrontierPoint(
            value=value,
            fraction=fraction,
            kl=Mean(value=float(kl.mean()), seeds=len(kl)),
            reward=Mean(value=float(rewards.mean()), seeds=len(rewards)),
            chosen=(value, fraction) == (setting.value, setting.fraction),
        )
        for value, fraction, kl, rewards in table.points(variant, arm, TUNING)
    ]


def _contrasts(table: Table, variant: str, seeds: Sequence[int]) -> list[ContrastRow]:
    """Every two arms that have been run and differ in one field, as `roads.differences` sees it."""
    known = every_road()
    neighbours = [(name, one.neighbour) for name, one in all_controls().items()]
    neighbours += [(later, earlier) for earlier, later in pairwise(CHAIN)]
    neighbours += [(arm, arm.partition(AT)[0]) for arm in table.arms(variant) if AT in arm]
    out = []
    for arm, neighbour in dict.fromkeys(neighbours):
        try:
            difference = Difference(variant, arm, neighbour)
            _, found = first_seeds(seeds, partial(difference.estimate, table))
        except NoEstimate:
            continue
        field = one_field(named(neighbour, known), named(arm, known))
        out.append(
            ContrastRow(
                variant=variant,
                arm=arm,
                neighbour=neighbour,
                field=field.field,
                difference=to_mean(found),
            )
        )
    return out


def _scorers(store: Store, table: Table, variant: str, seeds: Sequence[int]) -> list[ScorerRow]:
    names = sorted({x.arm for x in store.cells(variant) if isinstance(x, ScorerLine)})
    out = []
    for name in names:
        for on in ("test", "paraphrased"):
            try:
                _, read = first_seeds(seeds, partial(table.margins, variant, name, on=on))
                found = [margins for margins, _ in read]
            except NoEstimate:
                continue
            out.append(
                ScorerRow(
                    variant=variant,
                    scorer=name,
                    on=on,
                    accuracy=_of_seeds([scorers.hits(one).mean() for one in found]),
                    nll=_of_seeds([scorers.nll(one).mean() for one in found]),
                )
            )
    return out


def _difficulty(store: Store, variant: str) -> DifficultyRow | None:
    curves: dict[str, dict[int, list[tuple[int, float]]]] = {"verifier": {}, "generator": {}}
    for line in store.curves(variant):
        curves[line.learner].setdefault(line.seed, []).append((line.count, line.reached))
    if not all(curves.values()):
        return None
    reached = []
    for learner, by_seed in curves.items():
        most = max(count for curve in by_seed.values() for count, _ in curve)
        last = [value for curve in by_seed.values() for count, value in curve if count == most]
        reached.append(f"the {learner} reaches {np.mean(last):.2f} with {most:,}")
    return DifficultyRow(
        variant=variant,
        pairs=_needed(curves["verifier"]),
        demonstrations=_needed(curves["generator"]),
        words=f"level {LEVEL:g}; " + ", ".join(reached),
    )


def _needed(by_seed: Mapping[int, Sequence[tuple[int, float]]]) -> Mean | None:
    """Geometric mean over seeds of where their curves cross; None where one does not."""
    found = [crossing(sorted(curve), LEVEL) for curve in by_seed.values()]
    if any(one is None for one in found):
        return None
    logs = to_mean(stats.seed_mean(np.log([one for one in found if one is not None])))
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Mean(value=math.exp(logs.value), low=low, high=high, seeds=logs.seeds)


def _words(setting: Setting) -> str:
    parts = []
    if setting.value is not None:
        parts.append(f"{'N' if setting.knob == 'N' else setting.knob} {setting.value:g}")
    if setting.rate != 1:
        parts.append(f"rate x{setting.rate:g}")
    if setting.fraction != 1:
        parts.append(f"after {setting.fraction:.0%}")
    return ", ".join(parts)


def _crossed(values: NDArray) -> Mean:
    return to_mean(stats.two_way_mean(values))


def _over_seeds(moments: Sequence[Moment], name: str) -> Mean:
    return _of_seeds([getattr(one, name) for one in moments])


def _of_seeds(values: Sequence[float]) -> Mean:
    return to_mean(stats.seed_mean([float(value) for value in values]))
