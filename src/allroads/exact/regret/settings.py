"""What the study varies: one factor at a time from a stated centre."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

REVISION = 1
"""Raised whenever a change of the code changes numbers; part of each fingerprint."""

SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""Preference pairs. Each size of a seed begins with the pairs of the smaller ones."""

SEEDS = 50
"""Worlds of a cell: each has its own features, reference, truth and pairs."""

WITNESSES = 10
"""So many of these seeds also run learner (b), and start (a') a second time at the truth."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One cell. The defaults are the centre."""

    vocabulary: int = 8
    horizon: int = 3
    prompts: int = 4
    reward_dimension: int = 4
    """d_R: features that rewards of R_sim are linear in."""
    policy_dimension: int = 16
    """d_P: features that the token policies of (a') are log-linear in."""
    policy_features: Literal["shared", "by position", "blind"] = "shared"
    """What the features of (a') are; see `world.token_features`. Only `shared` has any d_P."""
    temperature: float = 1.0
    """Label noise: the first of two completions wins with chance sigma(difference / this)."""
    sharpness: float = 1.0
    """Coverage: deviation of the reference's random logits; 0 draws all completions alike."""
    ridge: float = 1.0
    """Nats per squared reward unit, for all learners; see `objective`."""
    outside: float = 0.0
    """Share of the true reward's deviation that no reward of R_sim can have."""
    spread: float = 1.5
    """Deviation of the true reward under the reference, reward units."""
    beta: float = 1.0
    """Price of one nat, reward units."""
    table: bool = False
    """Whether (a), the table of all policies, runs too."""

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes the numbers of a seed."""
        text = json.dumps([REVISION, SIZES, WITNESSES, asdict(self)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


CENTRE = Setting(table=True)

_plain = replace(CENTRE, table=False)
_positions = replace(_plain, policy_features="by position")

CELLS: dict[str, Setting] = {
    "centre": CENTRE,
    **{f"d_P {d}": replace(_plain, policy_dimension=d) for d in (4, 8, 32)},
    **{f"d_R {d}": replace(_plain, reward_dimension=d) for d in (2, 8, 16, 32)},
    **{f"horizon {h}": replace(_plain, horizon=h) for h in (1, 2, 4)},
    **{
        f"positions {h}": replace(_positions, horizon=h, policy_dimension=4 * h)
        for h in (1, 2, 3, 4)
    },
    **{f"temperature {t:g}": replace(_plain, temperature=t) for t in (0.5, 2.0, 4.0)},
    **{f"sharpness {s:g}": replace(_plain, sharpness=s) for s in (0.0, 2.0)},
    **{f"ridge {r:g}": replace(CENTRE, ridge=r) for r in (0.1, 10.0, 100.0)},
    **{f"outside {e:g}": replace(_plain, outside=e) for e in (0.25, 0.5)},
    "blind policy": replace(_plain, policy_features="blind", policy_dimension=96),
    "one token": replace(
        CENTRE, vocabulary=32, horizon=1, prompts=1, reward_dimension=3, policy_dimension=12
    ),
}
"""Every cell by its name: a factor and its value, the rest as in the centre."""
