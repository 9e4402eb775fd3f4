"""Finished cells as lines of text: one JSON line a cell, appended, kept in the repository.

A cell is one arm at one setting with one seed on one variant; `results/VARIANT/ARM.jsonl` holds an
arm's. A line that a kill cut off is no cell, and the next one begins on a line of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from allroads.errors import RunFolderError
from allroads.records import Record


class Moment(Record):
    """One policy at one moment of its training, on the variant's held-out prompts."""

    fraction: float
    """Part of the training that is done; 1.0 is the last step."""
    reward: tuple[float, ...]
    """True reward by prompt, in the order of the world's evaluation prompts."""
    reward_train: float | None
    kl: float
    """From the start policy, nats per completion (k1)."""
    length: float
    """Tokens per completion."""
    no_eos: float
    """Share of completions cut at the length limit."""
    selection: float
    """Mean score by the selection scorer, in its units."""
    proxy: float | None
    """Mean score by the arm's own labeller, in its units."""


class _Line(Record):
    variant: str
    arm: str
    seed: int
    rate: float
    """Factor on the learning rates of policy stages."""
    knob: str
    """'beta' or 'N'; '' where the arm has no setting."""
    value: float | None
    design: str
    """Fingerprint of all that the cell depends on but its seed: equal designs, one experiment."""
    revision: str
    """git revision of the code that made it."""
    created: str
    failed: str = ""
    """Why there is no result; else empty."""


class PolicyLine(_Line):
    """What a cell's policy is worth."""

    kind: Literal["policy"] = "policy"
    moments: tuple[Moment, ...] = ()
    labels: int = 0
    outside_queries: int = 0
    tokens_trained: int = 0
    tokens_sampled: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    """Of all its stages, those that arms share included, as one process took them."""


class ScorerLine(_Line):
    """What a cell's scorer says of held-out pairs."""

    kind: Literal["scorer"] = "scorer"
    margins: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Score of chosen minus rejected by pair, of 'test', 'train' and others."""
    prompts: tuple[int, ...] = ()
    """By pair of 'test': the place of its prompt among the world's test prompts, in every seed."""


class CurveLine(Record):
    """What a fixed learner reaches with some data (see `difficulty`)."""

    kind: Literal["curve"] = "curve"
    variant: str
    learner: Literal["verifier", "generator"]
    count: int
    """Pairs, or demonstrations."""
    seed: int
    reached: float
    """Share of held-out pairs ordered right, or true reward of the likeliest answers."""

    @property
    def arm(self) -> str:
        """Names its file."""
        return f"difficulty-{self.learner}"


Cell = PolicyLine | ScorerLine
Line = Cell | CurveLine
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])
Key = tuple[str, str, int, float, float | None, str]
"""(kind, arm, seed, rate, value, design)."""


def key_of(line: Cell) -> Key:
    """What a line is found again by, within its variant."""
    return (line.kind, line.arm, line.seed, line.rate, line.value, line.design)


class Store:
    """The lines of a results folder.

    Args:
        folder: made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, line: Line) -> None:
        """Append a line; it is on the disk when this returns."""
        path = self.folder / line.variant / f"{line.arm}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = line.model_dump_json(exclude_defaults=True, exclude={"kind"})
        text = f'{{"kind":"{line.kind}",{text[1:]}\n'
        with path.open("ab+") as file:
            if file.tell() and not _ends_line(path):
                text = "\n" + text
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def lines(self, variant: str) -> Iterator[Line]:
        """All lines of a variant, in the order in which they were finished, file by file."""
        for path in sorted((self.folder / variant).glob("*.jsonl")):
            for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
                if text and text.endswith("}"):  # else a kill cut it off
                    yield _parsed(text, f"{path}, line {number}")

    def cells(self, variant: str) -> Iterator[Cell]:
        """Those of arms."""
        return (line for line in self.lines(variant) if not isinstance(line, CurveLine))

    def curves(self, variant: str) -> Iterator[CurveLine]:
        """Those of difficulties."""
        return (line for line in self.lines(variant) if isinstance(line, CurveLine))

    def variants(self) -> list[str]:
        """Variants of which there is a cell."""
        return sorted(path.name for path in self.folder.glob("*") if any(path.glob("*.jsonl")))


def _parsed(text: str, where: str) -> Line:
    try:
        return _LINE.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RunFolderError(
            f"{where}: this is no finished cell ({field}: {first['msg']}); remove the line, and "
            "the cell is run again"
        ) from error


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
