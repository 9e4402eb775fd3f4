"""How well predictions do on families of worlds that the model has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from allroads.diagnoses import Prediction
from allroads.diagnosis.features import Measured
from allroads.diagnosis.model import Model, World, fit, predict
from allroads.errors import InputError
from allroads.records import Record

DECIDED = 0.8
"""A prediction is decided where the gain is above (or below) 0 with at least this probability."""
SHORT = 4.0
"""Tokens of an answer up to which the rule of thumb says: offline."""


@dataclass(frozen=True)
class Held:
    """A world, predicted from the other families."""

    world: World
    prediction: Prediction
    """Its interval is of the measured gain, whose own error it holds."""


class Calibration(Record):
    """What a user may expect of the predictions.

    Attributes:
        worlds, families: how many.
        positive, negative: shares of worlds whose measured gain is above, below 0.
        spearman: rank correlation of predicted and measured gains.
        decided: share of worlds on which the sign is said.
        signs: share of those on which it is right.
        covered: share of measured gains inside their 90 % intervals.
        reliability: of the measured gains: share of their variance that is not measurement error.
        regret: mean gain that is lost against always taking the better road, by strategy.
    """

    worlds: int
    families: int
    positive: float
    negative: float
    spearman: float
    decided: float
    signs: float
    covered: float
    reliability: float
    regret: dict[str, float]
    """Offline likelihood or this road: no other is chosen from."""


def leave_one_family_out(worlds: Sequence[World], names: Sequence[str]) -> tuple[Held, ...]:
    """Every world predicted by a model that was fitted without its family.

    Raises:
        InputError: for fewer than two families.
    """
    families = sorted({world.family for world in worlds})
    if len(families) < 2:
        raise InputError(f"worlds: at least two families are needed, got {families}")
    out = []
    for family in families:
        model = fit([world for world in worlds if world.family != family], names)
        for world in worlds:
            if world.family == family:
                out.append(Held(world, predicted(model, world)))
    return tuple(out)


def predicted(model: Model, world: World) -> Prediction:
    """Of the gain as it was measured: the interval holds that one's own error."""
    found = {name: Measured(*row) for name, row in world.features.items()}
    return predict(model, found, noise=world.error)


def calibration(held: Sequence[Held]) -> Calibration:
    """Everything about some held-out predictions.

    Regret: where the road is chosen the gain is won, otherwise 0; the better road wins
    max(gain, 0).
    """
    gains = np.array([one.world.gain for one in held])
    errors = np.array([one.world.error for one in held])
    predicted = np.array([one.prediction.gain for one in held])
    sure = np.array(
        [not 1 - DECIDED < one.prediction.positive < DECIDED for one in held], dtype=bool
    )
    right = np.sign(predicted) == np.sign(gains)
    inside = [one.prediction.low <= one.world.gain <= one.prediction.high for one in held]

    def regret(chosen: Callable[[Held], bool]) -> float:
        won = np.array([one.world.gain if chosen(one) else 0.0 for one in held])
        return float(np.mean(np.maximum(gains, 0) - won))

    return Calibration(
        worlds=len(held),
        families=len({one.world.family for one in held}),
        positive=float(np.mean(gains > 0)),
        negative=float(np.mean(gains < 0)),
        spearman=float(np.corrcoef(rankdata(predicted), rankdata(gains))[0, 1]),
        decided=float(sure.mean()),
        signs=float(right[sure].mean()) if sure.any() else float("nan"),
        covered=float(np.mean(inside)),
        reliability=float(max(0.0, 1 - np.mean(errors**2) / np.var(gains, ddof=1))),
        regret={
            "advice": regret(lambda one: one.prediction.positive >= 0.5),
            "always offline": regret(lambda one: False),
            "always this road": regret(lambda one: True),
            "rule of thumb": regret(lambda one: _long_and_verifiable(one.world)),
        },
    )


def regrets(held: Mapping[str, Sequence[Held]], reinforcement: str) -> dict[str, float]:
    """Mean gain that strategies lose against always taking the best of all roads.

    Offline likelihood is one of the roads, with gain 0. The advice takes the road of the largest
    predicted gain, the rule of thumb `reinforcement` where outputs are long and verifiable.

    Args:
        held: predictions of the same worlds in the same order, by road.
        reinforcement: a road of them.

    Raises:
        InputError: when roads have different worlds.
    """
    names = [[one.world.name for one in rows] for rows in held.values()]
    if any(row != names[0] for row in names):
        raise InputError("held: every road must have the same worlds in the same order")
    gains = np.array([[0.0] * len(names[0]), *([h.world.gain for h in r] for r in held.values())])
    said = np.array(
        [[0.0] * len(names[0]), *([h.prediction.gain for h in r] for r in held.values())]
    )
    every, best = np.arange(gains.shape[1]), gains.max(axis=0)

    def lost(chosen: np.ndarray) -> float:
        return float(np.mean(best - gains[chosen, every]))

    roads = ["offline", *held]
    thumb = [
        roads.index(reinforcement) if _long_and_verifiable(one.world) else 0
        for one in held[reinforcement]
    ]
    always = {f"always {road}": lost(np.full(len(every), k)) for k, road in enumerate(roads)}
    return {"advice": lost(said.argmax(axis=0)), **always, "rule of thumb": lost(np.array(thumb))}


def _long_and_verifiable(world: World) -> bool:
    return world.longest > SHORT and world.verifiable
