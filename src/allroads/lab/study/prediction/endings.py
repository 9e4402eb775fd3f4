"""Whether trainings were done when they ended: what their second half still brought."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allroads import stats
from allroads.lab.study.measured import NoEstimate
from allroads.lab.study.prediction.measured import SEEDS, table_of
from allroads.lab.study.prediction.worlds import WORLDS

_HALF = 0.5


@dataclass(frozen=True)
class Ending:
    """One road on one world, at its tuned rate and beta.

    Attributes:
        world: its name.
        chosen: whether the tuned moment is the end.
        brought: true reward at the end minus half-way, with its 95 % interval over seeds and
            prompts.
    """

    world: str
    chosen: bool
    brought: stats.Estimate

    @property
    def unfinished(self) -> bool:
        """Chosen at its end, and surely still gaining until then."""
        return self.chosen and self.brought.low is not None and self.brought.low > 0


def endings(results: Path, road: str) -> tuple[Ending, ...]:
    """Of every world on which the road has been measured half-way and at its end."""
    table, out = table_of(results), []
    for world in WORLDS:
        try:
            tuned = table.setting(world, road)
            half, end = (
                table.rewards(world, road, SEEDS, tuned.model_copy(update={"fraction": fraction}))
                for fraction in (_HALF, 1.0)
            )
        except NoEstimate:
            continue
        brought = stats.paired_difference(end, half).estimate
        out.append(Ending(world, tuned.fraction == 1.0, brought))
    return tuple(out)
