"""From features to a predicted gain: one linear model, fitted on worlds whose gain was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources

import numpy as np
from scipy import special

from allroads.diagnoses import Feature, Prediction
from allroads.diagnosis.features import MEANINGS, Measured
from allroads.errors import InputError
from allroads.records import Record

LEVEL = 0.9
"""Of the interval."""
RIDGE = 1.0
"""Prior worlds' worth of pull of every (standardised) coefficient towards 0."""
_LEAST = 0.25
"""Share of the residual variance that is the model's own, at least, whatever the measurements'
errors explain of it."""


class World(Record):
    """A world on which the gain of a road over offline DPO was measured."""

    name: str
    family: str
    features: dict[str, tuple[float, float, float]]
    """(value, low, high) by name."""
    gain: float
    """P(the road's answer beats the offline one) - 1/2, ties half."""
    error: float
    """Its standard error."""
    costs: dict[str, float]
    """FLOPs of a training of each road, and of the evidence."""
    longest: float
    """Tokens of the start policy's answers, on average."""
    verifiable: bool
    """Whether a program knows the truth of this task."""


class Model(Record):
    """gain = intercept + sum of coefficient x feature, and how far worlds scatter about it.

    Attributes:
        names: of the features, in order.
        intercept: gain where every feature is 0.
        coefficients: gain per unit of each feature.
        scatter: standard deviation of true gains about the model where it has not seen their
            family, measurement errors apart.
        uncertainty: covariance of (intercept, coefficients).
        ranges: of each feature over the worlds it was fitted on.
        worlds, families: how many there were.
    """

    names: tuple[str, ...]
    intercept: float
    coefficients: tuple[float, ...]
    scatter: float
    uncertainty: tuple[tuple[float, ...], ...]
    ranges: tuple[tuple[float, float], ...]
    worlds: int
    families: int

    @property
    def words(self) -> str:
        """The model in one sentence."""
        terms = "".join(
            f" {'+' if c >= 0 else '-'} {abs(c):.2f} x {name}"
            for name, c in zip(self.names, self.coefficients, strict=True)
        )
        return (
            f"gain = {self.intercept:+.3f}{terms}; fitted on {self.worlds} worlds of "
            f"{self.families} families, about which true gains scatter by {self.scatter:.3f}"
        )


def fit(worlds: Sequence[World], names: Sequence[str]) -> Model:
    """Ridge regression of the gain on some features; worlds weigh by their gains' errors.

    The scatter is that of families which the model has not seen: the mean square of what each
    family is missed by when the others are fitted, minus what the gains' own errors and the
    features' errors explain, at least a quarter of it. With fewer than three families it is the
    residual variance over the residual degrees of freedom instead of that mean square.

    Raises:
        InputError: for fewer worlds than coefficients + 2, or a world without a feature.
    """
    if len(worlds) < len(names) + 3:
        raise InputError(f"worlds: at least {len(names) + 3} are needed, got {len(worlds)}")
    model, weights = _ridge(worlds, names)
    errors = [[_measured(world, name).error for name in names] for world in worlds]
    explained = np.array([world.error**2 for world in worlds])
    explained += (np.array(errors) ** 2) @ np.square(model.coefficients)
    missed = _missed(worlds, names)
    variance = model.scatter**2 if missed is None else float(weights @ missed**2)
    left = max(variance - float(weights @ explained), _LEAST * variance)
    return model.model_copy(update={"scatter": math.sqrt(left)})


def _missed(worlds: Sequence[World], names: Sequence[str]) -> np.ndarray | None:
    """By world, its gain minus what the other families say; None where they cannot be fitted."""
    families = {world.family for world in worlds}
    if len(families) < 3:
        return None
    out = np.empty(len(worlds))
    for family in families:
        others = [world for world in worlds if world.family != family]
        if len(others) < len(names) + 3:
            return None
        model, _ = _ridge(others, names)
        for at, world in enumerate(worlds):
            if world.family == family:
                values = [_measured(world, name).value for name in names]
                out[at] = world.gain - model.intercept - np.dot(model.coefficients, values)
    return out


def _ridge(worlds: Sequence[World], names: Sequence[str]) -> tuple[Model, np.ndarray]:
    """The regression, its scatter the whole residual variance's root; and the worlds' weights."""
    x = _matrix(worlds, names)
    y = np.array([world.gain for world in worlds])
    errors = np.array([world.error for world in worlds])
    centre, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    z = np.column_stack([np.ones(len(x)), (x - centre) / spread])
    typical = max(float(np.median(errors)), 1e-6)
    weights = 1 / (1 + (errors / typical) ** 2)
    weights /= weights.mean()
    penalty = RIDGE * np.diag([0.0, *[1.0] * len(names)])
    gram = z.T @ (weights[:, None] * z) + penalty
    beta = np.linalg.solve(gram, z.T @ (weights * y))
    residuals = y - z @ beta
    freedom = len(y) - len(beta)
    variance = float(weights @ residuals**2 / freedom)
    back = np.zeros((len(beta), len(beta)))
    back[0, 0] = 1.0
    back[0, 1:] = -centre / spread
    back[1:, 1:] = np.diag(1 / spread)
    inverse = np.linalg.inv(gram)
    uncertainty = variance * back @ inverse @ back.T
    raw = back @ beta
    model = Model(
        names=tuple(names),
        intercept=float(raw[0]),
        coefficients=tuple(map(float, raw[1:])),
        scatter=math.sqrt(variance),
        uncertainty=tuple(tuple(map(float, row)) for row in uncertainty),
        ranges=tuple(
            (float(low), float(high)) for low, high in zip(x.min(0), x.max(0), strict=True)
        ),
        worlds=len(worlds),
        families=len({world.family for world in worlds}),
    )
    return model, weights / len(y)


def predict(model: Model, found: Mapping[str, Measured], *, noise: float = 0.0) -> Prediction:
    """The gain to be expected, with its 90 % interval.

    The interval holds the scatter of worlds, the model's own uncertainty, the features' errors
    (each times its coefficient) and, for a feature outside the range of the worlds, the whole part
    that lies outside.

    Args:
        model: from `fit`.
        found: its features at least.
        noise: standard error of a measured gain that the interval should cover, where it is that
            and not the true gain which is predicted.

    Raises:
        InputError: when a feature of the model is missing.
    """
    if missing := [name for name in model.names if name not in found]:
        raise InputError(f"features: the model needs {', '.join(missing)}, which is not there")
    values = [found[name] for name in model.names]
    point = np.array([1.0, *(one.value for one in values)])
    gain = model.intercept + float(np.dot(model.coefficients, point[1:]))
    variance = model.scatter**2 + noise**2
    variance += float(point @ np.array(model.uncertainty) @ point)
    widened, rows = [], []
    for name, c, one, (low, high) in zip(
        model.names, model.coefficients, values, model.ranges, strict=True
    ):
        variance += (c * one.error) ** 2
        outside = max(low - one.value, one.value - high, 0.0)
        if outside > 0:
            variance += (c * outside) ** 2
            widened.append(
                f"{name} is {one.value:+.3g}, outside what the worlds had ({low:+.3g} to "
                f"{high:+.3g})"
            )
        rows.append(
            Feature(
                name=name,
                meaning=MEANINGS[name],
                value=one.value,
                low=one.low,
                high=one.high,
                coefficient=c,
                contribution=c * one.value,
                known=(low, high),
            )
        )
    freedom = max(1, model.worlds - len(model.names) - 1)
    error = math.sqrt(variance)
    half = error * float(special.stdtrit(freedom, (1 + LEVEL) / 2))
    return Prediction(
        gain=gain,
        low=gain - half,
        high=gain + half,
        positive=float(special.stdtr(freedom, gain / error)),
        features=tuple(rows),
        model=model.words,
        widened=tuple(widened),
    )


def fitted() -> dict[str, dict[str, Model]]:
    """The models that come with the library, by what they need ('labels', 'truth') and by road."""
    file = resources.files("allroads.diagnosis").joinpath("models.json")
    return Models.model_validate_json(file.read_text("utf-8")).models if file.is_file() else {}


class Models(Record):
    """The file of fitted models."""

    made: str
    """The command that fits them."""
    models: dict[str, dict[str, Model]]
    """By what they need, then by road."""


def _matrix(worlds: Sequence[World], names: Sequence[str]) -> np.ndarray:
    return np.array([[_measured(world, name).value for name in names] for world in worlds])


def _measured(world: World, name: str) -> Measured:
    if name not in world.features:
        raise InputError(f"worlds: {world.name} has no feature {name!r}; leave it out")
    return Measured(*world.features[name])
