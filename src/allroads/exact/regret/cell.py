"""One seed of one cell: every learner at every number of pairs, with the checks of each fit.

Numbers are whole: regrets in millionths of a reward unit, description lengths in thousandths of a
nat. The committed file stays small so, and can be compared exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from allroads.exact.regret.learners import (
    Learnt,
    over_soft_optima,
    over_the_table,
    over_token_policies,
    reward_then_rl,
    reward_then_rl_inside,
    token_class,
)
from allroads.exact.regret.objective import Objective
from allroads.exact.regret.settings import SIZES, WITNESSES, Setting
from allroads.exact.regret.world import World, draw
from allroads.exact.tree import Array

REGRET_UNIT = 1e-6
CODE_UNIT = 1e-3
CODED_FROM = 512
DOUBLINGS = sum(CODED_FROM <= size < SIZES[-1] for size in SIZES)
"""Description lengths are compared from this number of pairs on, doubling by doubling."""


def run_seed(setting: Setting, seed: int) -> dict[str, Any]:
    """Run every learner of a cell in one world.

    Returns:
        `regret`: learner to one number a size, in `REGRET_UNIT`. Learners are table (a), token
        (a'), simple (c), inside (c'). `code`: the labels' description length under (a') less that
        under (c), one number a doubling, in `CODE_UNIT`. `predicted`: pairs times regret of (a')
        and (c) that their Fisher information promises for many pairs. `inside_floor`: the least
        regret that (c') could have. `checks`: the worst of each kind.
    """
    world = draw(setting, seed)
    regret: dict[str, list[int]] = defaultdict(list)
    checks: dict[str, float] = defaultdict(float)
    code: list[int] = []

    def note(name: str, found: Learnt) -> Learnt:
        regret[name].append(round(world.regret(found.log_pi) / REGRET_UNIT))
        checks["slope"] = max(checks["slope"], found.slope)
        return found

    for place, pairs in enumerate(SIZES):
        simple = note("simple", reward_then_rl(world, pairs))
        token = note("token", over_token_policies(world, pairs))
        if setting.policy_features == "blind":
            note("inside", reward_then_rl_inside(world, simple.reward_PL))
        if setting.table and place % 2 == 0:
            note("table", over_the_table(world, pairs))
        if seed < WITNESSES:
            for name, gap in _second_witnesses(world, pairs, simple, token).items():
                checks[name] = max(checks[name], gap)
        if CODED_FROM <= pairs < SIZES[-1]:
            code.append(_longer_code(world, pairs, token.reward_PL, simple.reward_PL))
    result: dict[str, Any] = {"regret": dict(regret), "code": code, "checks": dict(checks)}
    result["predicted"] = predicted(world)
    if setting.policy_features == "blind":
        best = reward_then_rl_inside(world, world.truth_PL)
        result["inside_floor"] = round(world.regret(best.log_pi) / REGRET_UNIT)
    return result


def run_cell(setting: Setting, seeds: Iterable[int]) -> dict[str, Any]:
    """`run_seed` for many seeds, side by side: a list over seeds for each number of one seed.

    Description lengths are summed over the doublings, with their means for each one beside.
    """
    done = [run_seed(setting, seed) for seed in seeds]
    checks: dict[str, float] = defaultdict(float)
    for one in done:
        for name, value in one["checks"].items():
            checks[name] = max(checks[name], value)
    out: dict[str, Any] = {
        "regret": {name: [one["regret"][name] for one in done] for name in done[0]["regret"]},
        "code": [sum(one["code"]) for one in done],
        "code_of_each_doubling": np.mean([one["code"] for one in done], axis=0).round().tolist(),
        "predicted": {
            name: [one["predicted"][name] for one in done] for name in done[0]["predicted"]
        },
        "checks": {name: float(f"{value:.1e}") for name, value in checks.items()},
    }
    if "inside_floor" in done[0]:
        out["inside_floor"] = [one["inside_floor"] for one in done]
    return out


def token_truth(world: World) -> Array | None:
    """The parameters of (a') at which the policy is pi*; None where the class does not hold it."""
    s = world.setting
    if s.policy_features == "blind":
        return None
    theta = np.zeros(world.token_feature_PSK.shape[-1])
    theta[:: s.reward_dimension if s.policy_features == "by position" else len(theta)] = 1
    return theta


def predicted(world: World) -> dict[str, float]:
    """Pairs times regret for many pairs, for the learners whose class holds the truth.

    The maximum of likelihood has covariance I^-1, and regret is beta KL(pi || pi*), to second order
    1/(2 beta) times the variance under pi* of the reward's error: trace(G I^-1) / (2 beta) with G
    the covariance under pi* of the rewards' derivatives. I is that of the world's own pairs.

    Source: maximum likelihood's asymptotic normality (van der Vaart 1998, theorem 5.39).
    """
    goal = Objective.of(world, SIZES[-1])
    share = np.array(world.tree.rho)[:, None] * np.exp(world.best)
    classes: dict[str, Array] = {}
    theta = token_truth(world)
    if theta is not None:
        classes["token"] = token_class(world).jacobian(theta)
    if not world.setting.outside:
        classes["simple"] = world.feature_PLD
    out = {}
    for name, jacobian in classes.items():
        mean = np.einsum("pl,plk->pk", np.exp(world.best), jacobian)
        flat = (jacobian - mean[:, None]).reshape(share.size, -1)
        spread = flat.T @ (flat * share.reshape(-1, 1))
        information = goal.information(world.truth_PL, jacobian) / SIZES[-1]
        trace = np.trace(np.linalg.solve(information, spread))
        out[name] = round(float(trace) / (2 * world.setting.beta), 4)
    return out


def _second_witnesses(world: World, pairs: int, simple: Learnt, token: Learnt) -> dict[str, float]:
    """(b) against (c), in nats of log pi; and how much deeper (a') gets from the truth, in nats."""
    same = over_soft_optima(world, pairs)
    out = {"b_minus_c": float(np.abs(same.log_pi - simple.log_pi).max()), "slope": same.slope}
    truth = token_truth(world)
    if truth is not None:
        other = over_token_policies(world, pairs, start=truth)
        out["start"] = abs(token.value - other.value)
    return out


def _longer_code(world: World, pairs: int, token: Array, simple: Array) -> int:
    """Surprise at the labels of the next `pairs` pairs: under (a') less under (c)."""
    half, full = Objective.of(world, pairs), Objective.of(world, 2 * pairs)
    longer = [full.surprise(reward) - half.surprise(reward) for reward in (token, simple)]
    return round((longer[0] - longer[1]) / CODE_UNIT)
