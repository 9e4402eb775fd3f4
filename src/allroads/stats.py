"""Intervals, tests and estimators: pure functions of arrays, NumPy and SciPy only.

Axis letters: `S` seeds (whole repetitions of a run), `P` test prompts, `M` a pool of completions.
Every seed is graded on the same prompts, so prompts are *crossed* with seeds: a mean over both
carries a variance of its own for seeds, for prompts and for their interaction. An interval that
leaves the seeds out is far too narrow as soon as repeating a run changes its result.

Every function raises `InputError` on arrays that are empty, of the wrong shape, or hold a missing
(NaN) or infinite value: a failure is dropped by the caller and counted, never averaged in. The same
for a setting outside the range that its description states; a `level` lies inside (0, 1).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from allroads.errors import InputError

Floats = NDArray[np.float64]

EXACT_PERMUTATION_PAIRS = 12
"""Up to this many pairs `permutation_p` lists all sign flips (4,096 at most)."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its interval, in the units of the values. One seed has no interval over seeds."""

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    df: float | None
    """Degrees of freedom of the t interval; None where the interval is not a t interval, where
    there is none, and where the values do not vary at all."""
    seeds: int
    prompts: int | None
    """None when there is one number per seed."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """mean(a) - mean(b) on the same seeds and prompts; positive when `a` is larger."""

    estimate: Estimate
    p_value: float | None
    """Two-sided, unadjusted; None for one seed."""


class ReliabilityBin(NamedTuple):
    """One bar of a reliability diagram."""

    predicted: float
    observed: float
    count: int


def two_way_mean(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Grand mean of crossed seeds and prompts, with a two-way random-effects t interval.

    Model: value[s, p] = mean + seed[s] + prompt[p] + interaction[s, p], all random, so

        Var(mean) = (MS_seed + MS_prompt - MS_residual) / (S P).

    A variance component estimated below zero counts as zero (each main mean square is at least the
    residual one), so the variance is never below the largest of the three terms.

    Degrees of freedom: Satterthwaite's formula, with one change. With few seeds a small draw of
    MS_seed both narrows the interval and, through the formula, buys many degrees of freedom. The
    weights inside the formula therefore use MS_seed (S+1)/(S-1) and MS_prompt (P+1)/(P-1). When
    one source is alone, nothing changes (df = S-1 or P-1).

    Coverage found by simulation, nominal 95 %, P from 10 to 1000, lowest over a grid of mixes of
    the three sources: .938 at S = 3 (plain Satterthwaite .922), .944 at 4, .946 at 5, .948 at 10;
    at S = 2 only .91 (plain .87). Where neither seeds nor prompts have an effect of their own it
    is too wide (coverage to 1.00), because few seeds cannot show that.

    Args:
        values: (S, P), one number for each seed and prompt. A prompt that failed for one seed is
            to be dropped for all.
        level: nominal coverage.

    Returns:
        The estimate. With one seed there is no interval; values that are all equal give an
        interval of zero width; with one prompt it is `seed_mean`.

    Source: Satterthwaite 1946, Biometrics Bulletin 2, 110; Searle, Casella and McCulloch 1992,
    Variance Components (two-way crossed classification, random model).
    """
    cells = _complete("values", values, axes=("seed", "prompt"))
    seeds, prompts = cells.shape
    if seeds == 1 or prompts == 1:
        return replace(seed_mean(cells.mean(axis=1), level=level), prompts=prompts)
    if np.ptp(cells) == 0.0:
        return _t_estimate(float(cells[0, 0]), 0.0, None, level, seeds=seeds, prompts=prompts)
    mean = cells.mean()
    of_seed, of_prompt = cells.mean(axis=1) - mean, cells.mean(axis=0) - mean
    interaction = cells - mean - of_seed[:, None] - of_prompt
    df_seed, df_prompt, df_residual = seeds - 1, prompts - 1, (seeds - 1) * (prompts - 1)
    ms_residual = np.sum(interaction**2) / df_residual
    ms_seed = prompts * np.sum(of_seed**2) / df_seed
    ms_prompt = seeds * np.sum(of_prompt**2) / df_prompt

    total = max(ms_seed, ms_residual) + max(ms_prompt, ms_residual) - ms_residual
    weight_seed = max(ms_seed * (seeds + 1) / df_seed, ms_residual)
    weight_prompt = max(ms_prompt * (prompts + 1) / df_prompt, ms_residual)
    weights = np.array([weight_seed, weight_prompt, -ms_residual])
    df = weights.sum() ** 2 / np.sum(weights**2 / (df_seed, df_prompt, df_residual))
    error = float(np.sqrt(total / (seeds * prompts)))
    return _t_estimate(float(mean), error, float(df), level, seeds=seeds, prompts=prompts)


def seed_mean(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Mean of one number per seed, with the ordinary t interval over seeds.

    Args:
        values: (S,).
        level: nominal coverage.

    Returns:
        The estimate, with `prompts` None. With one seed there is no interval.
    """
    numbers = _complete("values", values, axes=("seed",))
    seeds = len(numbers)
    if np.ptp(numbers) == 0.0:  # one seed included
        error = 0.0 if seeds > 1 else None
        return _t_estimate(float(numbers[0]), error, None, level, seeds=seeds, prompts=None)
    mean, error = float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(seeds))
    return _t_estimate(mean, error, float(seeds - 1), level, seeds=seeds, prompts=None)


def cluster_mean(
    values: ArrayLike, clusters: Sequence[Hashable], *, level: float = 0.95
) -> Estimate:
    """Mean of cases that come in clusters, with a cluster-robust t interval; one run.

    For right and wrong on held-out pairs: pairs of one prompt share its difficulty and often an
    answer. Cases weigh equally, and nothing is assumed of how cases of a cluster depend on each
    other. With N cases, n_g of them in cluster g, h_g = n_g / N and e_g the sum of a cluster's
    deviations from the mean,

        Var(mean) = sum_g e_g^2 / (1 - h_g) / N^2                                     (CR2).

    Degrees of freedom: Satterthwaite's, under independent cases and under cases that agree within
    their cluster; the smaller of the two. Equal clusters give G - 1.

    False alarms found by simulation (the interval's lower end lies above the truth; nominal 2.5 %)
    for signs of +-1, the cases of a cluster independent, mixed, or all alike: at most 3.3 % with
    35 clusters of 1 to 6 and with 10 of 5; in the worst mix tried, 12 clusters of 1 to 36 that are
    each all right or all wrong, 7 % (12 % under G - 1 degrees of freedom without the 1 - h_g; 35 %
    when cases are taken for independent).

    Args:
        values: (N,).
        clusters: (N,), the name of each case's cluster.
        level: nominal coverage.

    Returns:
        The estimate, with `seeds` 1 and `prompts` the number of clusters. One cluster has no
        interval; values that are all equal give one of zero width.

    Source: Bell and McCaffrey 2002, Survey Methodology 28, 169; Imbens and Kolesar 2016, Review of
    Economics and Statistics 98, 701.
    """
    cases = _complete("values", values, axes=("case",))
    sums, sizes = _by_cluster(cases[None], clusters)
    count = len(sizes)
    if count == 1 or np.ptp(cases) == 0.0:
        error = None if count == 1 else 0.0
        return _t_estimate(float(cases.mean()), error, None, level, seeds=1, prompts=count)
    total = float(sizes.sum())
    share = sizes / total
    deviations = sums[0] - sizes * cases.mean()
    error = float(np.sqrt(np.sum(deviations**2 / (1 - share)))) / total
    # deviations / sqrt(1 - share) is linear in the clusters' means: this is the matrix.
    linear = (np.diag(sizes) - np.outer(sizes, share)) / np.sqrt(1 - share)[:, None]
    dfs = []
    for variance in (1 / sizes, np.ones(count)):
        covariance = (linear * variance) @ linear.T
        dfs.append(float(np.trace(covariance) ** 2 / np.sum(covariance**2)))
    return _t_estimate(float(cases.mean()), error, min(dfs), level, seeds=1, prompts=count)


def by_cluster(values: ArrayLike, clusters: Sequence[Hashable]) -> Floats:
    """One value per cluster with the mean of the cases: what makes `two_way_mean` cluster-robust.

    A cluster's value is the grand mean plus its summed deviation from it, over the mean size of a
    cluster; large clusters so weigh by their cases. Clusters of one case change nothing.

    Args:
        values: (S, N), all seeds on the same cases.
        clusters: (N,), the name of each case's cluster.

    Returns:
        (S, G), clusters in the order in which they first appear; each row has the mean of its
        row in `values`.
    """
    cells = _complete("values", values, axes=("seed", "case"))
    sums, sizes = _by_cluster(cells, clusters)
    if sizes.max() == 1:
        return cells
    mean = cells.mean()
    return mean + (sums - sizes * mean) * len(sizes) / sizes.sum()


def _by_cluster(cells: Floats, clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """(S, G) sums over each cluster's cases and (G,) numbers of cases."""
    if len(clusters) != cells.shape[1]:
        raise InputError(
            f"clusters must name the cluster of each of {cells.shape[1]} values, got "
            f"{len(clusters)} names"
        )
    place = {name: k for k, name in enumerate(dict.fromkeys(clusters))}
    member = np.zeros((len(clusters), len(place)))
    member[np.arange(len(clusters)), [place[name] for name in clusters]] = 1.0
    return cells @ member, member.sum(axis=0)


def paired_difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> PairedDifference:
    """mean(a) - mean(b), paired by seed and prompt: `two_way_mean` of the differences, with its t.

    Args:
        a: (S, P), for example the rewards of one road.
        b: (S, P), the same seeds and the same prompts in the same order.
        level: nominal coverage.

    Returns:
        The estimate and a two-sided p-value. Differences that are all equal give p = 1 when they
        are zero and p = 0 otherwise.
    """
    cells_a = _complete("a", a, axes=("seed", "prompt"))
    cells_b = _complete("b", b, axes=("seed", "prompt"))
    _check_same_shape(cells_a, cells_b)
    estimate = two_way_mean(cells_a - cells_b, level=level)
    tail = _t_tail(estimate, -abs(estimate.value))
    return PairedDifference(estimate=estimate, p_value=None if tail is None else min(1.0, 2 * tail))


def equivalence(estimate: Estimate, margin: float) -> float | None:
    """p-value of two one-sided t tests (TOST) that the true value lies inside +-margin.

    Below .05, the 90 % interval (`level=0.90`) lies inside +-margin: the value counts as none.

    Args:
        estimate: a difference, from `paired_difference`, `two_way_mean` or `seed_mean`.
        margin: the largest difference that counts as none, positive, in the value's units.

    Returns:
        The larger of the two one-sided p-values; None for one seed.

    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657.
    """
    if not (np.isfinite(margin) and margin > 0):
        raise InputError(f"margin must be a positive number, got {margin}")
    return _t_tail(estimate, abs(estimate.value) - margin)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values, in the order given: the i-th smallest of m times m - i + 1.

    They never decrease from one to the next larger p-value and never exceed 1. None (a comparison
    without a test) stays None and does not count in m.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        _check_unit("p_values", np.array([p]))
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = largest
    return adjusted


def proportion(successes: float, n: int, *, level: float = 0.95) -> Estimate:
    """A share with its Wilson interval: the uncertainty over `n` independent cases, for one run.

    For accuracies on held-out pairs with one seed. Several seeds on the same pairs are crossed:
    use `two_way_mean`.

    Args:
        successes: how many; a tie may count one half.
        n: cases.
        level: nominal coverage.

    Returns:
        The estimate, with seeds 1, prompts `n`, and neither standard error nor df (so that no t
        test is made of it).

    Source: Wilson 1927, Journal of the American Statistical Association 22, 209.
    """
    _check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise InputError(f"successes must lie in [0, n] with n >= 1, got {successes} of {n}")
    z = float(special.ndtri(0.5 + level / 2))
    share = successes / n
    centre = (successes + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * float(np.sqrt(successes * (n - successes) / n + z * z / 4))
    low, high = max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
    return Estimate(
        value=share, low=low, high=high, standard_error=None, df=None, seeds=1, prompts=n
    )


def clustered_proportion(
    values: ArrayLike, clusters: Sequence[Hashable], *, level: float = 0.95
) -> Estimate:
    """Mean of values in [0, 1] that come in clusters, such as several pairs of one prompt.

    Wilson's interval at the effective number of cases n / d. The design effect d is the
    cluster-robust variance of the mean over p (1 - p) / n, the variance of independent cases, and
    at least 1, so it is never narrower than `proportion`. Where all values are 0 or all are 1, d
    cannot be seen and each cluster counts as one case. Unlike a t interval it has a width then.

    Args:
        values: (n,), 0, 1 or a half for a tie.
        clusters: (n,), what each value belongs to.
        level: nominal coverage.

    Returns:
        The estimate, with seeds 1 and `prompts` the number of clusters.

    Source: Kish 1965, Survey Sampling (design effect); Korn and Graubard 1998, Survey Methodology
    24, 193 (effective sample size inside an interval for a share).
    """
    cases = _complete("values", values, axes=("case",))
    _check_unit("values", cases)
    if len(clusters) != len(cases):
        raise InputError(f"clusters must have one entry a value, got {len(clusters)}")
    share, n = float(cases.mean()), len(cases)
    sums: dict[Hashable, float] = {}
    for cluster, value in zip(clusters, cases - share, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + float(value)
    count = len(sums)
    effective = count
    if count > 1 and 0 < share < 1:
        robust = sum(v * v for v in sums.values()) * count / (count - 1)
        design = max(1.0, robust / (n * share * (1 - share)))
        effective = int(n / design + 1e-9)
    effective = max(1, effective)
    return replace(
        proportion(min(share * effective, effective), effective, level=level),
        value=share,
        prompts=count,
    )


def permutation_p(
    a: ArrayLike, b: ArrayLike, *, rng: np.random.Generator, draws: int = 10_000
) -> float:
    """One-sided p-value that `a` exceeds `b` on average, by flipping the signs of a - b.

    Valid when, under no effect, each pair could as well have come in the other order.

    Args:
        a: (n,).
        b: (n,), paired with `a` by place.
        rng: draws the flips; untouched when all of them are listed.
        draws: random flips when n > 12, at least 1.

    Returns:
        For n <= 12 the exact share of the 2^n flips whose mean is at least the observed one (never
        below 2^-n); otherwise (1 + count) / (1 + draws).

    Source: Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9,
    39 (why a Monte Carlo p-value counts the observed order).
    """
    if draws < 1:
        raise InputError(f"draws must be at least 1, got {draws}")
    first, second = _complete("a", a, axes=("pair",)), _complete("b", b, axes=("pair",))
    _check_same_shape(first, second)
    differences = first - second
    n = len(differences)
    # Flips whose sums are equal on paper differ in the last digits.
    reached = differences.sum() - 1e-12 * np.abs(differences).sum()
    if n <= EXACT_PERMUTATION_PAIRS:
        flips = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean((1 - 2 * flips) @ differences >= reached))
    count, chunk = 0, max(1, 2**20 // n)
    for start in range(0, draws, chunk):
        flips = rng.integers(0, 2, size=(min(chunk, draws - start), n), dtype=np.int8)
        count += int(np.sum((1 - 2 * flips) @ differences >= reached))
    return (1 + count) / (1 + draws)


def reliability(p: ArrayLike, y: ArrayLike, *, bins: int = 10) -> list[ReliabilityBin]:
    """Mean predicted against mean observed, in equal-width bins of the prediction.

    For preferences, `p` is the predicted probability that the chosen completion is preferred. Each
    pair can be read in both directions, and with y = 1 throughout every bin would observe 1. So
    the caller symmetrises: each pair enters twice, as (p, 1) and as (1 - p, 0). `count` then
    counts readings, two for each pair.

    Args:
        p: (n,), predicted probabilities.
        y: (n,), outcomes in [0, 1]; usually 0 or 1.
        bins: at least 1; bin k holds k/bins <= p < (k+1)/bins, the last one also p = 1.

    Returns:
        The bins from low to high; empty ones are left out.
    """
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}")
    predicted, observed = _complete("p", p, axes=("row",)), _complete("y", y, axes=("row",))
    _check_same_shape(predicted, observed)
    _check_unit("p", predicted)
    _check_unit("y", observed)
    place = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    inside = [place == k for k in np.unique(place)]
    return [
        ReliabilityBin(float(predicted[i].mean()), float(observed[i].mean()), int(i.sum()))
        for i in inside
    ]


def expected_calibration_error(p: ArrayLike, y: ArrayLike, *, bins: int = 10) -> float:
    """Mean of |predicted - observed| over the bins of `reliability`, weighted by their counts.

    A probability; 0 is calibrated. The caller symmetrises, as in `reliability`. Noise alone makes
    it positive, the more so the fewer rows a bin holds.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    table = reliability(p, y, bins=bins)
    gaps = sum(row.count * abs(row.predicted - row.observed) for row in table)
    return gaps / sum(row.count for row in table)


def best_of_n_weights(scores: ArrayLike, n: int) -> Floats:
    """Probability that each element is the best of n drawn from the pool without replacement.

    Elements with equal scores share equally. `weights @ values` is then an unbiased estimate of
    the expected value of best-of-n, from one pool of M completions of one prompt.

    Args:
        scores: (M,), the scores that best-of-n selects by; higher is better.
        n: completions per answer, 1 to M.

    Returns:
        (M,), summing to one.

    Source: Nakano et al. 2021, arXiv:2112.09332 (the estimator without ties).
    """
    group, _, reached = _tie_groups(scores, n)
    pool = len(group)
    # all_within[k] = C(k, n) / C(M, n): all n drawn are among the k lowest of the pool.
    ranks = np.arange(1, pool + 1)
    factors = np.maximum(ranks - n, 0) / ranks
    all_within = np.append(np.cumprod(factors[::-1])[::-1], 1.0)
    below = np.concatenate([[0], reached[:-1]])
    share = (all_within[reached] - all_within[below]) / (reached - below)
    return share[group]


def best_of_n_kl(scores: ArrayLike, n: int) -> float:
    """Estimate of KL(best-of-n || base) for one prompt, in nats per completion.

    The pool stands for the base policy: each group of equal scores is an atom of its share m, and
    best-of-n with ties broken at random puts F(g)^n - F(g-)^n on it. Inside a group best-of-n and
    base agree, so KL = sum P log(P / m). Ties are what keeps it below `best_of_n_kl_bound`. Take
    M >> n: being finite costs a pool without ties .6 % of the bound at n = 2 and M = 20, and less
    at larger n or M.

    Args and errors as `best_of_n_weights`.

    Source: Beirami et al. 2024, arXiv:2401.01879.
    """
    _, mass, reached = _tie_groups(scores, n)
    cumulative = (reached / reached[-1]) ** n
    best = np.diff(cumulative, prepend=0.0)
    return max(0.0, float(special.rel_entr(best, mass).sum()))


def best_of_n_kl_bound(n: int) -> float:
    """An upper bound on the KL of best-of-n, reached without ties: log n - (n - 1)/n nats.

    Source: Beirami et al. 2024, arXiv:2401.01879, theorem 1.
    """
    if n < 1:
        raise InputError(f"n must be at least 1, got {n}")
    return float(np.log(n)) - (n - 1) / n


def _tie_groups(scores: ArrayLike, n: int) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """Each element's group of equal scores; each group's share; how many score up to each group."""
    pool = _complete("scores", scores, axes=("completion",))
    if not 1 <= n <= len(pool):
        raise InputError(
            f"n must lie between 1 and the size of the pool, got n = {n} with {len(pool)} scores: "
            "draw a larger pool"
        )
    _, group, sizes = np.unique(pool, return_inverse=True, return_counts=True)
    return group, sizes / len(pool), np.cumsum(sizes)


def _t_estimate(
    value: float,
    error: float | None,
    df: float | None,
    level: float,
    *,
    seeds: int,
    prompts: int | None,
) -> Estimate:
    """Value +- t(df) error; no interval without an error, zero width with an error of zero."""
    _check_level(level)
    half = None if error is None else 0.0
    if error and df is not None:
        half = error * float(special.stdtrit(df, 0.5 + level / 2))
    low, high = (None, None) if half is None else (value - half, value + half)
    return Estimate(
        value=value, low=low, high=high, standard_error=error, df=df, seeds=seeds, prompts=prompts
    )


def _t_tail(estimate: Estimate, distance: float) -> float | None:
    """P(T <= distance / standard error); None without an error, a step when the error is zero."""
    if estimate.standard_error is None:
        return None
    if estimate.standard_error == 0.0 or estimate.df is None:
        return 0.0 if distance < 0 else 1.0
    return float(special.stdtr(estimate.df, distance / estimate.standard_error))


def _complete(name: str, values: ArrayLike, *, axes: tuple[str, ...]) -> Floats:
    """`values` as float64 with these axes, none empty and no cell missing."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(axes) or array.size == 0:
        raise InputError(f"{name} must have axes ({', '.join(axes)}), got shape {array.shape}")
    missing = ~np.isfinite(array)
    if missing.any():
        first = ", ".join(
            f"{axis} {int(k)}" for axis, k in zip(axes, np.argwhere(missing)[0], strict=True)
        )
        remedy = "drop that prompt for every seed" if "prompt" in axes else "leave it out"
        raise InputError(
            f"{name} has {int(missing.sum())} of {array.size} cells that are NaN or infinite, the "
            f"first at {first}: {remedy} (and for whatever it is compared with), and report how "
            "many were dropped"
        )
    return array


def _check_same_shape(a: Floats, b: Floats) -> None:
    if a.shape != b.shape:
        raise InputError(f"paired arrays must have one shape, got {a.shape} and {b.shape}")


def _check_unit(name: str, values: Floats) -> None:
    if not np.all((values >= 0) & (values <= 1)):
        raise InputError(f"{name} must lie in [0, 1], got {values.min()} to {values.max()}")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level must lie inside (0, 1), got {level}")
