"""What the lines say: each arm at the setting that was tuned for it, seed by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from allroads.evaluation import scorers
from allroads.lab.selection import preference, worth
from allroads.lab.study.lines import Cell, Moment, PolicyLine, ScorerLine, Store
from allroads.lab.study.measured import NoEstimate
from allroads.lab.study.variants import START
from allroads.records import Record

TUNING = (900, 901)
"""Seeds on which settings are chosen; no verdict reads them."""
One = TypeVar("One", PolicyLine, ScorerLine)


class Setting(Record):
    """Where an arm is taken."""

    rate: float
    knob: str
    """'beta' or 'N'; '' where there is nothing to set."""
    value: float | None
    """Beta, or N of best-of-N; None where there is nothing to set."""
    fraction: float
    """Moment of the training."""
    trials: int
    """Among how many it was chosen."""


@dataclass(frozen=True)
class _Trial:
    """An arm at one setting: its lines by seed."""

    rate: float
    value: float | None
    lines: Mapping[int, PolicyLine]


class Table:
    """The finished cells, as arrays.

    Only lines of one design are put together: of several for one setting, that of the newest line.

    Args:
        store: where the lines are.
        entropies: of the start policies by variant, nats per completion. A variant that has one is
            tuned as comparisons are; the registered studies have none, and are tuned as they said
            beforehand.
    """

    def __init__(self, store: Store, entropies: Mapping[str, float] | None = None) -> None:
        self._store, self._entropies = store, entropies or {}
        self._policies = cache(self._read_policies)
        self._scorers = cache(self._read_scorers)

    def arms(self, variant: str) -> list[str]:
        """Arms with a cell on this variant."""
        return sorted({arm for arm, *_ in self._policies(variant)})

    def seeds(self, variant: str, arm: str) -> list[int]:
        """Seeds with which an arm has been run at its tuned setting.

        Raises:
            NoEstimate: when it has not been tuned.
        """
        return sorted(self._trial(variant, arm, self.setting(variant, arm)).lines)

    def setting(self, variant: str, arm: str) -> Setting:
        """Where the selection scorer prefers the arm, on the tuning seeds, against the start.

        Raises:
            NoEstimate: when its tuning cells are not all there.
        """
        best: tuple[tuple[bool, float], Setting] | None = None
        trials = self._trials(variant, arm)
        start = self._trials(variant, START)[0].lines
        count = 0
        for trial in trials:
            if any(seed not in trial.lines or seed not in start for seed in TUNING):
                continue
            rows = [trial.lines[seed] for seed in TUNING]
            if any(row.failed for row in rows):
                continue
            for at, moment in enumerate(rows[0].moments):
                count += 1
                seen = [(row.moments[at], start[row.seed].moments[-1]) for row in rows]
                found = Setting(
                    rate=trial.rate,
                    knob=rows[0].knob,
                    value=trial.value,
                    fraction=moment.fraction,
                    trials=0,
                )
                rank = _rank(seen, self._entropies.get(variant))
                if best is None or rank > best[0]:
                    best = rank, found
        if best is None:
            raise NoEstimate(
                f"{variant}, {arm}: not tuned yet, or every trial failed (seeds {TUNING})"
            )
        return best[1].model_copy(update={"trials": count})

    def forgone(self, variant: str, arm: str) -> float:
        """True reward that another setting or moment would have had more, on the tuning seeds.

        The largest of all: no rule of selection could have won more there. At least 0.
        """
        best = max(
            float(np.mean([trial.lines[s].moments[at].reward for s in TUNING]))
            for trial in self._trials(variant, arm)
            if all(s in trial.lines and not trial.lines[s].failed for s in TUNING)
            for at in range(len(trial.lines[TUNING[0]].moments))
        )
        return best - float(self.rewards(variant, arm, TUNING).mean())

    def moments(
        self, variant: str, arm: str, seeds: Sequence[int], setting: Setting | None = None
    ) -> list[Moment]:
        """The arm at its tuned setting, or at a given one, by seed.

        Raises:
            NoEstimate: when a seed is missing or has failed.
        """
        setting = setting or self.setting(variant, arm)
        trial = self._trial(variant, arm, setting)
        return [_at(_line(trial, variant, arm, seed), setting.fraction) for seed in seeds]

    def rewards(
        self, variant: str, arm: str, seeds: Sequence[int], setting: Setting | None = None
    ) -> NDArray[np.float64]:
        """(seeds, prompts) true rewards at the tuned setting, or at a given one."""
        return np.array([one.reward for one in self.moments(variant, arm, seeds, setting)])

    def frontier(
        self, variant: str, arm: str, seeds: Sequence[int]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """(KL, rewards) of every setting and moment at the tuned rate; both (seeds, prompts).

        The KL of a cell is known as a mean over prompts only: it is repeated.
        """
        return [(kl, rewards) for _, _, kl, rewards in self.points(variant, arm, seeds)]

    def points(
        self, variant: str, arm: str, seeds: Sequence[int]
    ) -> list[tuple[float | None, float, NDArray[np.float64], NDArray[np.float64]]]:
        """(value, fraction, KL, rewards) of what `frontier` has."""
        rate = self.setting(variant, arm).rate
        out = []
        for trial in self._trials(variant, arm):
            complete = all(s in trial.lines and not trial.lines[s].failed for s in seeds)
            if trial.rate != rate or not complete:
                continue
            for at in range(len(trial.lines[seeds[0]].moments)):
                rows = [trial.lines[seed].moments[at] for seed in seeds]
                rewards = np.array([row.reward for row in rows])
                kl = np.broadcast_to([[row.kl] for row in rows], rewards.shape)
                out.append((trial.value, rows[0].fraction, kl, rewards))
        return out

    def outside(self, variant: str, arm: str) -> bool:
        """Whether the arm asked a labeller that is no function of the data."""
        trials = self._trials(variant, arm)
        return any(line.outside_queries for trial in trials for line in trial.lines.values())

    def flops(self, variant: str, arm: str, seeds: Sequence[int]) -> float:
        """Mean over seeds of what the arm's stages took at its tuned setting."""
        trial = self._trial(variant, arm, self.setting(variant, arm))
        return float(np.mean([_line(trial, variant, arm, seed).flops for seed in seeds]))

    def seconds(self, variant: str, arm: str, seeds: Sequence[int]) -> float:
        """The same in seconds."""
        trial = self._trial(variant, arm, self.setting(variant, arm))
        return float(np.mean([_line(trial, variant, arm, seed).seconds for seed in seeds]))

    def margins(
        self, variant: str, arm: str, seeds: Sequence[int], on: str = "test"
    ) -> list[tuple[NDArray[np.float64], list[str]]]:
        """By seed: leads of chosen over rejected on held-out pairs, and each pair's prompt.

        Of a scorer with several settings the one that needs the fewest nats on the tuning seeds.
        """
        settings = self._scorers(variant).get(arm, {})
        usable = {
            setting: lines
            for setting, lines in settings.items()
            if len(settings) == 1 or all(s in lines and not lines[s].failed for s in TUNING)
        }
        if not usable:
            raise NoEstimate(f"{variant}, {arm}: no such scorer has been tuned")

        def surprise(lines: Mapping[int, ScorerLine]) -> float:
            return float(np.mean([scorers.nll(lines[s].margins["test"]).mean() for s in TUNING]))

        every = list(usable.values())
        lines = every[0] if len(every) == 1 else min(every, key=surprise)
        out = []
        for seed in seeds:
            line = lines.get(seed)
            if line is None or line.failed or on not in line.margins:
                raise NoEstimate(_lacks(variant, arm, seed, line, f"no margins on {on!r}"))
            out.append((np.array(line.margins[on]), [str(p) for p in line.prompts]))
        return out

    def _trials(self, variant: str, arm: str) -> list[_Trial]:
        out = [
            _Trial(rate, value, lines)
            for (name, rate, value), lines in self._policies(variant).items()
            if name == arm
        ]
        if not out:
            raise NoEstimate(f"{variant}, {arm}: no cell has been run")
        return out

    def _trial(self, variant: str, arm: str, setting: Setting) -> _Trial:
        for trial in self._trials(variant, arm):
            if (trial.rate, trial.value) == (setting.rate, setting.value):
                return trial
        raise NoEstimate(f"{variant}, {arm}: not run at {setting}")

    def _read_policies(
        self, variant: str
    ) -> dict[tuple[str, float, float | None], dict[int, PolicyLine]]:
        found: dict[tuple[str, float, float | None], list[PolicyLine]] = defaultdict(list)
        for line in self._store.cells(variant):
            if isinstance(line, PolicyLine):
                found[line.arm, line.rate, line.value].append(line)
        return {key: _newest_design(lines) for key, lines in found.items()}

    def _read_scorers(
        self, variant: str
    ) -> dict[str, dict[tuple[float, float | None], dict[int, ScorerLine]]]:
        found: dict[tuple[str, float, float | None], list[ScorerLine]] = defaultdict(list)
        for line in self._store.cells(variant):
            if isinstance(line, ScorerLine):
                found[line.arm, line.rate, line.value].append(line)
        out: dict[str, dict[tuple[float, float | None], dict[int, ScorerLine]]] = defaultdict(dict)
        for (arm, rate, value), lines in found.items():
            out[arm][rate, value] = _newest_design(lines)
        return out


def _rank(seen: Sequence[tuple[Moment, Moment]], entropy: float | None) -> tuple[bool, float]:
    """Of a setting, from its moment and the start's with every tuning seed."""
    scores = [one.selection - was.selection for one, was in seen]
    distances = [one.kl for one, _ in seen]
    kl = float(np.mean(distances))
    if entropy is None:
        return True, float(np.mean(list(map(worth, scores, distances))))
    return preference(float(np.mean(scores)), kl, entropy)


def _newest_design(lines: Sequence[One]) -> dict[int, One]:
    design = max(lines, key=lambda line: line.created).design
    return {line.seed: line for line in lines if line.design == design}


def _line(trial: _Trial, variant: str, arm: str, seed: int) -> PolicyLine:
    line = trial.lines.get(seed)
    if line is None or line.failed:
        raise NoEstimate(_lacks(variant, arm, seed, line, "not run at its tuned setting"))
    return line


def _lacks(variant: str, arm: str, seed: int, line: Cell | None, otherwise: str) -> str:
    reason = f"failed: {line.failed}" if line is not None and line.failed else otherwise
    return f"{variant}, {arm}, seed {seed}: {reason}"


def _at(line: PolicyLine, fraction: float) -> Moment:
    for one in line.moments:
        if one.fraction == fraction:
            return one
    raise NoEstimate(f"{line.variant}, {line.arm}: no moment at {fraction:.0%} of the training")
