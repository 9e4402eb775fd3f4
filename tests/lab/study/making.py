"""Lines made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allroads.lab.study.lines import Moment, PolicyLine, ScorerLine

COMMON: dict[str, Any] = {
    "variant": "routes",
    "rate": 1.0,
    "revision": "abc",
    "created": "2026-01-01T00:00:00+00:00",
}


def moment(reward: Sequence[float], *, kl: float = 0.0, **changes: Any) -> Moment:
    fields = {
        "fraction": 1.0,
        "reward": tuple(reward),
        "reward_train": None,
        "kl": kl,
        "length": 3.0,
        "no_eos": 0.0,
        "selection": sum(reward) / len(reward),
        "proxy": None,
    }
    return Moment(**{**fields, **changes})


def policy(
    arm: str, seed: int, reward: Sequence[float], value: float | None = None, **changes: Any
) -> PolicyLine:
    moments = changes.pop("moments") if "moments" in changes else (moment(reward),)
    knob = "" if value is None else "beta"
    fields = {**COMMON, "design": f"{arm}-{value}", "knob": knob, **changes}
    return PolicyLine(arm=arm, seed=seed, value=value, moments=moments, **fields)


def scorer(arm: str, seed: int, margins: Sequence[float], **changes: Any) -> ScorerLine:
    fields = {**COMMON, "design": arm, "knob": "", "value": None, **changes}
    return ScorerLine(
        arm=arm,
        seed=seed,
        margins={"test": tuple(margins)},
        prompts=tuple(range(len(margins))),
        **fields,
    )
