"""From estimates to verdicts, by rules that are fixed before the cells are run.

A `Test` is a statistic with a claim about it (`claims.py`); on the cells it holds, fails or stays
open.

A hypothesis has premises and tests. It is *no test* unless each premise holds; *supported* when
each test holds; *refuted* when one fails; else *undecided*.

Errors. A family is all hypotheses that are judged together, those that come out as no test
included (with p = 1: dropping them would let the results choose the family). Each has

    p(supported) = largest p for holding, of premises and tests: an intersection-union test,
    p(refuted)   = the larger of the premises' p for holding and of k times the smallest p for
                   failing among its k tests (Bonferroni: one failure is enough to refute),

both valid when their verdict would be wrong: supported, though a premise or a test's claim is not
true at all (its value 0 or of the other sign for `above`, beyond the margin for `within`); refuted,
though each value is as claimed (at least d; for `within` exactly 0). Holm adjusts the p(supported)
of the family, and apart from them the p(refuted). Whatever the dependence of the hypotheses (they
share arms), the chance of any wrong 'supported' is at most 5 %, and so is that of any wrong
'refuted'; where no claim is `within`, each tail has 2.5 % and so both together 5 %. One Holm
sequence over the smaller of the two p would not be safe: a hypothesis that is refuted rightly would
make the next step easier, although it can no more be supported wrongly.

Simulated, 3,000 studies of each of 3, 5 and 10 seeds by 200 prompts in four mixes of variances: the
interval holds the truth in at least 94.5 %; wrong at their border, `above` and `at_least` hold or
fail in at most 2.8 %, `within` holds in at most 4.8 % and fails in at most 4.6 %. Families of 8
against one shared baseline, 5 seeds: a wrong verdict anywhere in 0.5 to 1.4 % of 1,000 families.

Source: Holm 1979, Scandinavian Journal of Statistics 6, 65; Berger 1982, Technometrics 24, 295
(intersection-union tests).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from allroads import stats
from allroads.errors import ConfigError
from allroads.lab.study.claims import ALPHA, Claim, above, at_least, below, within
from allroads.lab.study.measured import Cells, Measured, NoEstimate, Statistic
from allroads.lab.study.power import detectable_effect, precision
from allroads.records import Record

__all__ = [
    "ALPHA",
    "Case",
    "Claim",
    "Evidence",
    "Test",
    "TestRow",
    "Verdict",
    "above",
    "at_least",
    "below",
    "examine",
    "seeds_to_decide",
    "verdicts",
    "within",
]

Floats = NDArray[np.float64]
Outcome = Literal["holds", "fails", "open", "no estimate"]

MOST_SEEDS = 1000
"""A verdict that would need more seeds than this counts as out of reach."""
_WITHOUT_END = 1e9


@dataclass(frozen=True)
class Test:
    """A statistic and what is claimed of it."""

    __test__ = False  # no test of pytest's

    statistic: Statistic
    claim: Claim

    @property
    def words(self) -> str:
        """One sentence without its full stop."""
        return f"{self.statistic.words} is {self.claim.words}"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A test with its estimate, or with the reason why there is none."""

    test: Test
    estimate: Measured | None = None
    problem: str = ""

    @property
    def p_values(self) -> tuple[float, float] | None:
        """For holding and for failing; None without an interval."""
        found = self.estimate
        if found is None or found.standard_error is None:
            return None
        df = np.inf if found.df is None else found.df
        holds, fails = self.test.claim.p_values(found.value, found.standard_error, df)
        return float(holds), float(fails)

    @property
    def outcome(self) -> Outcome:
        """Of this test alone, before Holm."""
        if self.estimate is None:
            return "no estimate"
        holds, fails = self.p_values or (1.0, 1.0)
        return "holds" if holds <= ALPHA else "fails" if fails <= ALPHA else "open"

    @property
    def words(self) -> str:
        """The numbers in one sentence without its full stop."""
        if self.estimate is None:
            return self.problem
        return f"{self.test.statistic.words} is {_interval(self.estimate)}"


def examine(test: Test, cells: Cells, seeds: Sequence[int]) -> Evidence:
    """The test on finished cells; cells that cannot answer it become its `problem`."""
    try:
        return Evidence(test=test, estimate=test.statistic.estimate(cells, seeds))
    except NoEstimate as error:
        return Evidence(test=test, problem=str(error))


@dataclass(frozen=True, kw_only=True)
class Case:
    """All evidence on one hypothesis."""

    name: str
    premises: tuple[Evidence, ...] = ()
    tests: tuple[Evidence, ...]

    def __post_init__(self) -> None:
        if not self.tests:
            raise ConfigError(f"hypothesis {self.name} has no test")


class TestRow(Record):
    """One test as it came out."""

    __test__ = False

    words: str
    """The prediction."""
    outcome: Outcome
    """Alone, before Holm."""
    value: float | None
    low: float | None
    high: float | None
    """Ends of the 95 % interval."""
    seeds: int | None
    prompts: int | None
    p_holds: float | None
    p_fails: float | None
    mde: float | None
    """Minimum detectable effect: the smallest that this design's 95 % interval sets apart from
    zero in 80 % of studies, from the variance components seen here."""
    problem: str = ""


class Verdict(Record):
    """What became of one hypothesis."""

    name: str
    verdict: Literal["supported", "refuted", "undecided", "no test"]
    reason: str
    """Sentences with the numbers behind it."""
    premises: tuple[TestRow, ...]
    tests: tuple[TestRow, ...]
    p_supported: float
    """1 for no test, as the other p-values."""
    p_refuted: float
    p_supported_holm: float
    p_refuted_holm: float
    family: int
    """Hypotheses judged together."""
    seeds: int
    """The fewest that an estimate rests on; 0 where there is none."""
    seeds_to_decide: int | None
    """Undecided only: the smallest number of seeds that would decide it if each value is the truth,
    with p adjusted for the whole family (Bonferroni); None where 1,000 would not."""


def verdicts(family: Sequence[Case]) -> tuple[Verdict, ...]:
    """Judges all hypotheses of a family at once, since Holm depends on all of them."""
    raw = [_p_values(case) for case in family]
    supported = stats.holm([p for p, _ in raw])
    refuted = stats.holm([p for _, p in raw])
    out = []
    for case, p, *adjusted in zip(family, raw, supported, refuted, strict=True):
        p_supported, p_refuted = (1.0 if q is None else q for q in adjusted)
        word, reason, seeds = _decide(case, p, (p_supported, p_refuted), len(family))
        counts = [e.estimate.seeds for e in (*case.premises, *case.tests) if e.estimate]
        out.append(
            Verdict(
                name=case.name,
                verdict=word,
                reason=reason,
                premises=tuple(map(_row, case.premises)),
                tests=tuple(map(_row, case.tests)),
                p_supported=p[0],
                p_refuted=p[1],
                p_supported_holm=p_supported,
                p_refuted_holm=p_refuted,
                family=len(family),
                seeds=min(counts, default=0),
                seeds_to_decide=seeds,
            )
        )
    return tuple(out)


def seeds_to_decide(case: Case, level: float = ALPHA) -> int | None:
    """The smallest number of seeds at which a hypothesis is expected to be decided.

    The present values are taken for the truth, the variance components for known, and the
    intervals for as wide as then expected: every second study would be less lucky.

    Args:
        case: more seeds are looked at than its estimates have now, the same for each of its tests.
        level: what p(supported) or p(refuted) has to reach, unadjusted: `ALPHA` over the number of
            hypotheses.

    Returns:
        None where `MOST_SEEDS` would not do, or an estimate has no variance components.
    """
    now = max(e.estimate.seeds for e in (*case.premises, *case.tests) if e.estimate)
    if now >= MOST_SEEDS:
        return None
    counts = np.arange(now + 1, MOST_SEEDS + 1)
    decided = _decided_at(case, counts, level)
    return int(counts[np.argmax(decided)]) if decided.any() else None


def _p_values(case: Case) -> tuple[float, float]:
    """p(supported) and p(refuted) of one hypothesis."""
    if any(e.outcome != "holds" for e in case.premises):
        return 1.0, 1.0
    if any(e.outcome == "no estimate" for e in case.tests):
        return 1.0, 1.0
    premises = [e.p_values or (1.0, 1.0) for e in case.premises]
    tests = [e.p_values or (1.0, 1.0) for e in case.tests]
    supported, refuted = _combined(np.array(premises).reshape(-1, 2), np.array(tests))
    return float(supported), float(refuted)


def _combined(premises: Floats, tests: Floats) -> tuple[Floats, Floats]:
    """p(supported), p(refuted) of (tests, 2, ...) p-values for holding and for failing."""
    assumed = np.max(premises[:, 0], axis=0, initial=0.0)
    supported = np.maximum(assumed, tests[:, 0].max(axis=0))
    failed = np.minimum(1.0, len(tests) * tests[:, 1].min(axis=0))
    return supported, np.maximum(assumed, failed)


def _decide(
    case: Case, p: tuple[float, float], adjusted: tuple[float, float], family: int
) -> tuple[Literal["supported", "refuted", "undecided", "no test"], str, int | None]:
    """The verdict, its reason, and the seeds that would decide it."""
    for premise in case.premises:
        if premise.outcome == "no estimate":
            return "no test", f"A premise has no estimate: {premise.words}.", None
        if premise.outcome != "holds":
            stands = "fails" if premise.outcome == "fails" else "is open"
            reason = f"The premise that {premise.test.words} {stands}: {premise.words}."
            return "no test", reason, None
    for test in case.tests:
        if test.outcome == "no estimate":
            return "no test", f"A test has no estimate: {test.words}.", None
    numbers = [
        f"{_capital(e.words)}; the claim '{e.test.claim.words}' {_said(e)}." for e in case.tests
    ]
    among = f"Holm-adjusted p = {{:.2g}} over {family} hypotheses."
    if adjusted[1] <= ALPHA:
        return "refuted", " ".join([*numbers, among.format(adjusted[1])]), None
    if adjusted[0] <= ALPHA:
        return "supported", " ".join([*numbers, among.format(adjusted[0])]), None
    if min(p) <= ALPHA:
        numbers.append(f"Decided alone, but not in its family: {among.format(min(adjusted))}")
    seeds, advice = _advice(case, ALPHA / family)
    return "undecided", " ".join([*numbers, advice]), seeds


def _advice(case: Case, level: float) -> tuple[int | None, str]:
    """Seeds that would decide, and the sentence about them."""
    if any(not (e.estimate and e.estimate.parts) for e in (*case.premises, *case.tests)):
        return None, "One seed shows nothing of what seeds change: run more."
    seeds = seeds_to_decide(case, level)
    if seeds is not None:
        return seeds, f"If these values are the truth, {seeds} seeds would decide."
    if _decided_at(case, np.array([_WITHOUT_END]), level).any():
        return None, f"If these values are the truth, not even {MOST_SEEDS:,} seeds would decide."
    return None, "If these values are the truth, it takes more prompts, not seeds."


def _decided_at(case: Case, seeds: NDArray, level: float) -> NDArray[np.bool_]:
    """Whether the case is expected to be decided with so many seeds."""

    def p_values(evidence: Sequence[Evidence]) -> Floats:
        out = []
        for e in evidence:
            if e.estimate is None or not e.estimate.parts:
                out.append(np.ones((2, len(seeds))))
                continue
            error, df = precision(e.estimate.parts, seeds)
            out.append(np.array(e.test.claim.p_values(e.estimate.value, error, df)))
        return np.array(out).reshape(-1, 2, len(seeds))

    supported, refuted = _combined(p_values(case.premises), p_values(case.tests))
    return np.minimum(supported, refuted) <= level


def _row(evidence: Evidence) -> TestRow:
    found = evidence.estimate
    p_holds, p_fails = evidence.p_values or (None, None)
    parts = found.parts if found else ()
    return TestRow(
        words=evidence.test.words,
        outcome=evidence.outcome,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        seeds=found.seeds if found else None,
        prompts=found.prompts if found else None,
        p_holds=p_holds,
        p_fails=p_fails,
        mde=detectable_effect(parts, found.seeds) if found and parts else None,
        problem=evidence.problem,
    )


def _interval(found: Measured) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:+.3g} (one seed, no interval)"
    return f"{found.value:+.3g} [{found.low:+.3g}, {found.high:+.3g}] ({found.seeds} seeds)"


def _said(evidence: Evidence) -> str:
    return "stays open" if evidence.outcome == "open" else evidence.outcome


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
