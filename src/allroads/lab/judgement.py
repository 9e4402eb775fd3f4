"""What a judging leaves in the run folder, and how it is counted: duels to shares and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from allroads import files, stats
from allroads.errors import RunFolderError
from allroads.judges.llm import Ruling
from allroads.lab.jobs import fingerprint
from allroads.lab.reader import Moment
from allroads.lab.verdict import to_mean
from allroads.records import Duels, JudgeFailure, Judgement, Mean

_EXAMPLE = 300
"""Characters of a failure's example."""
_POINTS = {"a": 1.0, "tie": 0.5, "b": 0.0}


def path_in(folder: Path) -> Path:
    """Where a run folder keeps its judging."""
    return folder / "judge.json"


def read(folder: Path, chosen: Mapping[str, Moment], start: str) -> Judgement | None:
    """The judging of a run folder, roads whose answers have changed since marked as stale.

    Raises:
        RunFolderError: when the file is not one that `allroads judge` wrote.
    """
    path = path_in(folder)
    if not path.is_file():
        return None
    try:
        kept = Judgement.model_validate(files.read_json(path))
    except (ValueError, ValidationError) as error:
        raise RunFolderError(
            f"{path} cannot be read as a judging; delete it, or run `allroads judge` again"
        ) from error
    roads = tuple(
        row.model_copy(
            update={
                "stale": row.road not in chosen
                or row.answers != answers_of(chosen[row.road], chosen[start], len(kept.seeds))
            }
        )
        for row in kept.roads
    )
    return kept.model_copy(update={"roads": roads})


def answers_of(road: Moment, start: Moment, seeds: int) -> str:
    """Fingerprint of the texts of a road and of its opponent, for the first so many seeds."""
    return fingerprint(
        [
            [[row["prompt_id"], row["text"]] for row in rows]
            for moment in (road, start)
            for rows in moment.answers[:seeds]
        ]
    )


def count_pairs(rulings: Sequence[Ruling], prompts: Sequence[str]) -> Duels:
    """Independent pairs, several of which may share a prompt; (n,) each."""
    points = [_POINTS[r.winner] for r in rulings if r.winner is not None]
    of = [p for r, p in zip(rulings, prompts, strict=True) if r.winner is not None]
    share = to_mean(stats.clustered_proportion(points, of)) if points else None
    return _count(rulings, prompts, share)


def count_crossed(rulings_SP: Sequence[Sequence[Ruling]], prompts: Sequence[str]) -> Duels:
    """Seeds by prompts, (S, P); a prompt that failed for one seed counts for none of the shares.

    Over several seeds the interval is that of `stats.two_way_mean`; over one it is Wilson's over
    prompts, as it is where every cell is the same.
    """
    whole = [k for k in range(len(prompts)) if all(row[k].winner for row in rulings_SP)]
    table_SP = np.array([[_POINTS[row[k].winner or "tie"] for k in whole] for row in rulings_SP])
    share = None
    if whole:
        seeds = len(table_SP)
        estimate = stats.proportion(float(table_SP.mean() * len(whole)), len(whole))
        if seeds > 1 and np.ptp(table_SP) > 0:
            estimate = stats.two_way_mean(table_SP)
            ends = (max(0.0, estimate.low or 0.0), min(1.0, estimate.high or 1.0))
            share = to_mean(estimate).model_copy(update={"low": ends[0], "high": ends[1]})
        else:
            share = to_mean(estimate).model_copy(update={"seeds": seeds})
    flat = [r for row in rulings_SP for r in row]
    return _count(flat, [p for _ in rulings_SP for p in prompts], share)


def _count(rulings: Sequence[Ruling], prompts: Sequence[str], share: Mean | None) -> Duels:
    shown = [(r, p) for r, p in zip(rulings, prompts, strict=True) if r.picks]
    sided = [float(r.one_sided) for r, _ in shown]
    picks = [pick for r, _ in shown for pick in r.picks if pick != "tie"]
    winners = [r.winner for r in rulings]
    return Duels(
        asked=len(rulings),
        wins=winners.count("a"),
        ties=winners.count("tie"),
        losses=winners.count("b"),
        identical=sum(r.identical for r in rulings),
        failures=_failures(rulings),
        share=share,
        disagreement=to_mean(stats.clustered_proportion(sided, [p for _, p in shown]))
        if shown
        else None,
        first=picks.count("first") / len(picks) if picks else None,
        cut=sum(r.cut for r in rulings),
    )


def _failures(rulings: Sequence[Ruling]) -> tuple[JudgeFailure, ...]:
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for ruling in rulings:
        if ruling.failure is not None:
            first.setdefault(ruling.failure, ruling.detail)
            counts[ruling.failure] = counts.get(ruling.failure, 0) + 1
    return tuple(
        JudgeFailure(reason=reason, count=count, example=_printable(first[reason]))
        for reason, count in sorted(counts.items())
    )


def _printable(text: str) -> str:
    """The beginning of a text, half characters that no file can hold replaced."""
    return text[:_EXAMPLE].encode("utf-8", "replace").decode("utf-8")
