"""What one round of training is made of: units, each with what one loss term needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from allroads.types import Tokens

PerToken = tuple[tuple[float, ...], ...]
"""One tuple a completion, one number a token."""


@dataclass(frozen=True, kw_only=True)
class UnitTokens:
    """What a loss by token needs beside its `Unit`.

    Log-probabilities in nats at the run's temperature; advantages, the critic's values (before each
    token) and returns in reward units.
    """

    behaviour: PerToken
    reference: PerToken | None = None
    advantage: PerToken | None = None
    value: PerToken | None = None
    returns: PerToken | None = None


@dataclass(frozen=True)
class Unit:
    """What one loss term needs: K completions of one prompt, and what is known about them.

    Log-probabilities are in nats per completion at the run's temperature: `reference` and
    `behaviour`, which is the writer's. `reward` is the labeller's score less what the KL costs,
    `advantage` that against the rest of the round. `mismatched` are completions of another prompt,
    to measure the KL on. `slot` is the unit's planned place in the round: minibatches are cut over
    slots, so a dropped unit shifts no other.
    """

    slot: int
    prompt: Tokens
    completions: tuple[Tokens, ...]
    reference: tuple[float, ...] | None = None
    behaviour: tuple[float, ...] | None = None
    reward: tuple[float, ...] | None = None
    advantage: tuple[float, ...] | None = None
    mismatched: tuple[Tokens, ...] | None = None
    mismatched_reference: tuple[float, ...] | None = None
    tokens: UnitTokens | None = None


@dataclass(frozen=True)
class Round:
    """The units of one round, out of `slots` planned ones, and what is logged about them."""

    units: tuple[Unit, ...]
    slots: int
    facts: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        units = [
            {**vars(unit), "tokens": None if unit.tokens is None else vars(unit.tokens)}
            for unit in self.units
        ]
        return {"units": units, "slots": self.slots, "facts": self.facts}

    @staticmethod
    def of(plain: Mapping[str, Any]) -> Round:
        """What `plain` gave."""
        units = tuple(
            Unit(
                **{
                    **{name: _frozen(value) for name, value in unit.items()},
                    "tokens": unit["tokens"]
                    and UnitTokens(**{n: _frozen(v) for n, v in unit["tokens"].items()}),
                }
            )
            for unit in plain["units"]
        )
        return Round(units, plain["slots"], plain["facts"])


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
