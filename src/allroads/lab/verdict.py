"""From paired differences to one sentence, by a rule that is fixed before the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from numpy.typing import NDArray

from allroads import stats
from allroads.lab.selection import SHARE
from allroads.records import Comparison, Mean, Verdict

ALPHA = 0.05

RULE = (
    "Every road is taken at the setting (and moment of its training) that the selection scorer "
    "prefers, no farther from the start policy than {share:.0%} of that one's entropy, then "
    "compared with {baseline} on the same held-out prompts and seeds. 'Better' or 'worse' needs a "
    "paired two-way (seed, prompt) t test at 5 %, Holm-adjusted over all comparisons on this page; "
    "'equivalent' needs two one-sided tests at 5 % against a margin of {margin:g}; anything else "
    "is undecided. A "
    "setting that cannot be trained with one seed is left out with all. One seed gives no "
    "verdict. Where a grader stands in for the truth, a verdict needs a grader that on held-out "
    "pairs is right more often than a coin, than length and than tf-idf (both fitted on the "
    "grader's own pairs), each difference with its whole 95 % interval (t, clustered by "
    "conversation), on at least 10 of them. A road labelled from outside (a verifier, a judge, a "
    "given reward model) is never counted as evidence that two stages pay."
)


def to_mean(estimate: stats.Estimate, *, least: float = -math.inf, most: float = math.inf) -> Mean:
    """A record of an estimate; its interval ends where the quantity does, the value stays."""
    low, high = estimate.low, estimate.high
    return Mean(
        value=estimate.value,
        low=None if low is None else max(min(least, estimate.value), low),
        high=None if high is None else min(max(most, estimate.value), high),
        seeds=estimate.seeds,
        prompts=estimate.prompts,
    )


def compare_all(
    metric: Mapping[str, NDArray],
    origins: Mapping[str, str],
    baseline: str,
    margin: float,
    *,
    refused: bool,
) -> tuple[Comparison, ...]:
    """Every road against the baseline.

    Args:
        metric: (seeds, prompts) values of each road at its selected setting.
        origins: 'data', 'outside' or 'none' for each road.
        baseline: the road compared with.
        margin: a difference below this counts as none.
        refused: whether the grader may not be relied on; then every conclusion is 'no verdict'.
    """
    others = [road for road in metric if road != baseline]
    paired = {r: stats.paired_difference(metric[r], metric[baseline]) for r in others}
    adjusted = dict(zip(others, stats.holm([paired[r].p_value for r in others]), strict=True))
    out = []
    for road in others:
        estimate, p_holm = paired[road].estimate, adjusted[road]
        if refused or p_holm is None:
            conclusion = "no verdict"
        elif p_holm < ALPHA:
            conclusion = "better" if estimate.value > 0 else "worse"
        else:
            p_equal = stats.equivalence(estimate, margin)
            conclusion = "equivalent" if p_equal is not None and p_equal < ALPHA else "undecided"
        out.append(
            Comparison(
                road=road,
                baseline=baseline,
                labeller=origins[road],  # type: ignore[arg-type]
                difference=to_mean(estimate),
                p_value=paired[road].p_value,
                p_holm=p_holm,
                margin=margin,
                conclusion=conclusion,  # type: ignore[arg-type]
            )
        )
    return tuple(out)


def decide(
    comparisons: Sequence[Comparison],
    baseline: str,
    start: str,
    margin: float,
    *,
    metric: str,
    refusals: Sequence[str],
    failed: Sequence[str] = (),
) -> Verdict:
    """The headline and its reasons.

    Args:
        comparisons: as `compare_all` gives them.
        baseline: offline DPO, or the start policy where DPO was not asked for.
        start: the start policy's road; it is no second stage.
        margin: as above.
        metric: what the roads are graded by, in words.
        refusals: why nothing may be concluded, in plain sentences; empty when something may.
        failed: roads that could not be trained at any setting.
    """
    rule = RULE.format(baseline=baseline, margin=margin, share=SHARE)
    if refusals:
        headline = "No verdict: " + refusals[0]
        return Verdict(headline=headline, reasons=tuple(refusals[1:]), decided=False, rule=rule)
    stages = [c for c in comparisons if c.labeller == "data" and c.road != start]
    by = {
        word: [c for c in stages if c.conclusion == word]
        for word in ("better", "worse", "equivalent", "undecided")
    }
    reasons = [_sentence(c) for c in comparisons]
    if by["better"]:
        best = max(by["better"], key=lambda c: c.difference.value)
        headline = f"{best.road} pays here: {metric} {_above(best.difference)} {baseline}'s."
        headline += _others("Better too", [c.road for c in by["better"] if c is not best])
        headline += _others("Undecided", [c.road for c in by["undecided"]])
        headline += _others("No better", [c.road for c in (*by["equivalent"], *by["worse"])])
        decided = True
    elif stages and len(by["worse"]) == len(stages):
        headline = f"{baseline} is the best of these roads: every other one is worse."
        decided = True
    elif stages and not by["undecided"]:
        headline = f"{baseline} is enough here: no other road that learns from the data is better."
        decided = True
    elif stages:
        headline = f"Undecided: this run cannot tell whether a second stage beats {baseline}."
        reasons.append(
            "More seeds narrow the intervals most when the roads differ between seeds, more "
            "held-out prompts when they differ between prompts."
        )
        decided = False
    else:
        headline = "Nothing to compare: only one road learns from the preferences."
        decided = False
    headline += _others("Failed", failed)
    return Verdict(headline=headline, reasons=tuple(reasons), decided=decided, rule=rule)


def _above(mean: Mean) -> str:
    assert mean.low is not None
    assert mean.high is not None
    return f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}] above"


def _others(word: str, roads: Sequence[str]) -> str:
    return f" {word}: {_list(roads)}." if roads else ""


def _signed(mean: Mean) -> str:
    if mean.low is None or mean.high is None:
        return f"{mean.value:+.3f}"
    return f"{mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]"


def _sentence(c: Comparison) -> str:
    p = "" if c.p_holm is None else f", adjusted p = {c.p_holm:.2g}"
    outside = " (outside labeller: new information)" if c.labeller == "outside" else ""
    return f"{c.road} against {c.baseline}: {_signed(c.difference)}{p}: {c.conclusion}{outside}."


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
