"""What search over the start policy's samples would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from allroads import stats
from allroads.diagnoses import Headroom, HeadroomPoint
from allroads.diagnosis.fresh import against_fresh
from allroads.diagnosis.lengths import LEARNERS
from allroads.diagnosis.means import clustered, share
from allroads.diagnosis.pool import Grader, clusters, grader, table, wins
from allroads.errors import InputError
from allroads.evidence import Evidence, Learner, Pool
from allroads.records import Mean
from allroads.stats import Floats


def headroom(evidence: Evidence) -> Headroom | None:
    """Best-of-N by each learner, N = 2, 4, 8 up to half the pool, graded by somebody else.

    Expectations over the samples are exact (order statistics of the pool, ties shared), and the
    choice meets samples that it was not chosen from. Intervals are over prompts (in clusters of one
    conversation); they say nothing of other fits of the learners.

    A noisy independent grader is taken at its word. Where its errors have nothing to do with the
    learner's, they pull every difference towards 0, so headroom is understated. Where it shares
    mistakes with the learners (fitted to pairs of the same kind, it may), best-of-N looks better
    than it is, the more so at large N. Neither is corrected for.

    Returns:
        None where nobody graded: neither a truth nor an independent scorer.
    """
    start, judge = evidence.start, grader(evidence.start)
    if judge is None:
        return None
    grades_PM, names = table(f"grades[{judge!r}]", start.grades[judge]), clusters(evidence, start)
    against_PMM = wins(grades_PM, grades_PM) - 0.5
    offline = evidence.offline
    ahead_PM = None if offline is None else _over_offline(grades_PM, start, offline, judge)
    scores: dict[Learner, Floats] = {
        name: table(f"grades[{name!r}]", start.grades[name]) for name in LEARNERS
    }
    over_start = {
        (learner, n): np.array(
            [
                np.sum(against_fresh(row, n) * against)
                for row, against in zip(scores_PM, against_PMM, strict=True)
            ]
        )
        for learner, scores_PM in scores.items()
        for n in _numbers(scores_PM.shape[1])
    }
    points = []
    for learner, scores_PM in scores.items():
        for n in _numbers(scores_PM.shape[1]):
            weights_PM = np.array([stats.best_of_n_weights(row, n) for row in scores_PM])
            points.append(
                HeadroomPoint(
                    by=learner,
                    n=n,
                    kl=clustered([stats.best_of_n_kl(row, n) for row in scores_PM], names),
                    over_start=clustered(over_start[learner, n], names),
                    over_offline=None if ahead_PM is None else _known(weights_PM, ahead_PM, names),
                    over_generator=None
                    if learner == "generator"
                    else clustered(over_start[learner, n] - over_start["generator", n], names),
                    proxy=clustered(_proxy(scores_PM, weights_PM), names),
                )
            )
    accuracy = _accuracy(evidence) if judge == "independent" else None
    return Headroom(
        grader=judge,
        grader_accuracy=accuracy,
        trusted=judge == "truth"
        or (accuracy is not None and accuracy.low is not None and accuracy.low > 0.5),
        points=tuple(points),
        offline=None if ahead_PM is None else _mean_of_offline(ahead_PM, names),
        offline_kl=None if offline is None else _offline_kl(evidence, offline),
        offline_trials=evidence.trials,
        bends=bends({n: over_start["verifier", n] for n in _numbers(grades_PM.shape[1])}, names),
    )


def bends(gains: Mapping[int, Floats], clusters: Sequence[int]) -> int | None:
    """The best N, if the largest N is worse than it beyond chance; None otherwise.

    The interval of the paired difference must lie above zero, at a level that allows for the best
    having been picked among all (Bonferroni); a curve that does not fall is said to with
    probability 2.5 % at most.

    Args:
        gains: by N, (P,), one number for each prompt.
        clusters: (P,), what each prompt belongs to.
    """
    if len(gains) < 2:
        return None
    best, last = max(gains, key=lambda n: float(np.mean(gains[n]))), max(gains)
    if best == last:
        return None
    level = 1 - 0.05 / (len(gains) - 1)
    fall = stats.cluster_mean(gains[best] - gains[last], clusters, level=level)
    return best if fall.low is not None and fall.low > 0 else None


def _numbers(pool: int) -> list[int]:
    """2, 4, 8 up to half the pool: larger N would know too few different choices."""
    return [2**k for k in range(1, pool.bit_length()) if 2 ** (k + 1) <= pool]


def _over_offline(grades_PM: Floats, start: Pool, offline: Pool, judge: Grader) -> Floats:
    """(P, M): P(each of the start policy's samples beats an offline one) - 1/2."""
    if offline.pair != start.pair or judge not in offline.grades:
        raise InputError(
            f"the offline pool must hold the start pool's prompts in its order, graded by {judge!r}"
        )
    theirs_PM = table(f"grades[{judge!r}] of the offline pool", offline.grades[judge])
    return wins(grades_PM, theirs_PM).mean(axis=2) - 0.5


def _known(weights_PM: Floats, ahead_PM: Floats, names: Sequence[int]) -> Mean:
    return clustered(np.sum(weights_PM * ahead_PM, axis=1), names)


def _mean_of_offline(ahead_PM: Floats, names: Sequence[int]) -> Mean:
    return clustered(-ahead_PM.mean(axis=1), names)


def _offline_kl(evidence: Evidence, offline: Pool) -> Mean | None:
    """Mean over its own samples of log(own / start): unbiased, nats a completion."""
    if not offline.own_logprob:
        return None
    own_PM = table("own_logprob", offline.own_logprob)
    start_PM = table("logprob", offline.logprob)
    return clustered((own_PM - start_PM).mean(axis=1), clusters(evidence, offline))


def _proxy(scores_PM: Floats, weights_PM: Floats) -> Floats:
    """(P,): gain in deviations within a prompt, pooled over prompts; 0 where none differ."""
    gain_P = np.sum(weights_PM * scores_PM, axis=1) - scores_PM.mean(axis=1)
    deviation = float(np.sqrt(scores_PM.var(axis=1).mean()))
    return gain_P / deviation if deviation > 0 else np.zeros(len(gain_P))


def _accuracy(evidence: Evidence) -> Mean | None:
    """The independent scorer's, on held-out labels; a tie is a half."""
    if not evidence.independent:
        return None
    right_P = (1 + np.sign(evidence.independent)) / 2
    return share(right_P, evidence.held_out.prompts)
