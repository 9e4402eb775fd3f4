"""Let a language model compare each road with the start policy, and with people first.

The judge is an outside one: it measures and trains nothing. How often it agrees with the people who
labelled the run's held-out pairs stands beside its verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from allroads import files
from allroads.data.dataset import Dataset
from allroads.data.tokenise import load_tokeniser
from allroads.errors import ConfigError, RunFolderError, nearest
from allroads.judges.answers import Answers
from allroads.judges.client import Chat, endpoint, key_from
from allroads.judges.llm import Duel, Listener, PairJudge, Ruling
from allroads.judges.template import load_template
from allroads.lab import judgement
from allroads.lab.compare import rebuild, reopen
from allroads.lab.folder import read_manifest, version_of
from allroads.lab.outside import ANSWERS
from allroads.lab.reader import Moment, Reader
from allroads.lab.results import check_finished, selected
from allroads.lab.runner import locked
from allroads.lab.workshop import WORLD_CACHE
from allroads.records import Agreement, JudgedRoad, Judgement, Results
from allroads.seeding import child

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What a user asks of a judge."""

    url: str
    """A server of the OpenAI chat-completions protocol, with or without /v1."""
    model: str
    """The name that the server knows the model by."""
    prompts: int = 48
    """Test prompts of which each road's answer is judged."""
    human_pairs: int = 100
    """Held-out pairs on which the judge is compared with the labels."""
    roads: tuple[str, ...] = ()
    """By default all but the start policy's own."""
    all_seeds: bool = False
    """Judge every seed's answers, not only the first's."""
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    """Seconds that one attempt may take."""
    retries: int = 2
    workers: int = 4
    """Requests at a time."""
    max_tokens: int = 8
    """Limit of a reply; a model that thinks before it answers needs hundreds."""
    max_chars: int = 4000
    """Of each text: a longer prompt loses its beginning, a longer answer its end; counted."""
    temperature: float = 0.0
    template: str | Path | None = None
    """A file with the request's words, with {prompt}, {first} and {second} in it."""

    def __post_init__(self) -> None:
        """Check what does not need the run.

        Raises:
            ConfigError: one line that names the flag.
        """
        least = {"prompts": 1, "human_pairs": 0, "retries": 0, "workers": 1}
        least |= {"max_tokens": 1, "max_chars": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag}: at least {low}, found {getattr(self, name)}")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ConfigError(f"--timeout: a positive number of seconds, found {self.timeout}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"--temperature: 0 or more, found {self.temperature}")
        if not self.model:
            raise ConfigError("--model: the name that the server knows the model by, found ''")


@dataclass(frozen=True)
class _Docket:
    """The duels of one judging: people's pairs, then roads by seed by prompt, each flat."""

    pairs: list[Duel]
    pair_prompts: list[str]
    seeds: int
    prompts: list[str]
    roads: dict[str, list[Duel]]

    @property
    def duels(self) -> list[Duel]:
        return [*self.pairs, *(duel for duels in self.roads.values() for duel in duels)]


def judge(folder: Path, asked: Judging, listener: Listener) -> Results:
    """Judge a finished run, write `judge.json` and rebuild its report.

    Args:
        folder: the run folder. Replies are kept in its `cache/judge`.
        asked: the judge, and how much of the run it sees.
        listener: told (requests answered, requests in all).

    Raises:
        InputError: when the run or the settings cannot be used.
        JudgeError: when the server cannot be asked; replies so far are kept.
    """
    key = key_from(asked.key_env)
    chat = Chat(
        url=endpoint(asked.url),
        key=key,
        key_env=asked.key_env,
        timeout=asked.timeout,
        retries=asked.retries,
    )
    asker = PairJudge(
        chat=chat,
        model=asked.model,
        answers=Answers(folder / ANSWERS),
        template=load_template(Path(asked.template) if asked.template else None),
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        max_chars=asked.max_chars,
        workers=asked.workers,
    )
    read_manifest(folder)  # before the lock, which would make the folder
    with locked(folder):
        manifest, config, _, plan = reopen(folder)
        check_finished(folder, plan, manifest)
        chosen = selected(Reader(folder, config, plan).moments())
        start = plan.cells[0].road
        docket = _docket(folder, asked, chosen, start)
        rulings = asker.rule(docket.duels, listener)
        seeds = config.seeds[: docket.seeds]
        record = _record(asked, asker, docket, rulings, chosen, start, seeds)
        files.write_text(judgement.path_in(folder), record.model_dump_json(indent=1) + "\n")
        return rebuild(folder)


def _docket(folder: Path, asked: Judging, chosen: dict[str, Moment], start: str) -> _Docket:
    others = [road for road in chosen if road != start]
    for road in asked.roads:
        if road not in others:
            raise ConfigError(
                f"--roads {road!r}: not a road that can be judged against {start!r} here: "
                f"{nearest(road, others)}"
            )
    opponent = chosen[start].answers
    seeds = len(opponent) if asked.all_seeds else 1
    rows = {row["prompt_id"]: row["prompt"] for row in opponent[0]}
    prompts = _some(list(rows), asked.prompts)
    duels: dict[str, list[Duel]] = {}
    for road in asked.roads or others:
        texts = [
            {row["prompt_id"]: row["text"] for row in answers} for answers in chosen[road].answers
        ]
        rivals = [{row["prompt_id"]: row["text"] for row in answers} for answers in opponent]
        duels[road] = [
            Duel(prompt=rows[name], a=texts[seed][name], b=rivals[seed][name])
            for seed in range(seeds)
            for name in prompts
        ]
    pairs, names = _people(folder, asked.human_pairs)
    return _Docket(pairs, names, seeds, prompts, duels)


def _people(folder: Path, count: int) -> tuple[list[Duel], list[str]]:
    """Held-out pairs as text, the chosen answer as `a`; with the prompt of each."""
    _, config, settings, plan = reopen(folder)
    world = config.make_world(cache=folder / WORLD_CACHE)
    if world is not None:
        job = next(j for j in plan.jobs.values() if j.kind == "pairs")
        decode, path = world.decode, folder / "data" / f"{job.id}.json"
    else:
        # The run's own copy: the model's folder may be gone.
        tokeniser = load_tokeniser(folder / "tokenizer", max_length=settings.max_length)
        decode, path = tokeniser.decode, folder / "data" / "dataset.json"
    if not path.is_file():
        raise RunFolderError(f"{path} is missing: the run folder no longer holds its pairs")
    pairs = _some(Dataset.from_json(path.read_text("utf-8")).pairs["test"], count)
    duels = [Duel(prompt=decode(p.prompt), a=decode(p.chosen), b=decode(p.rejected)) for p in pairs]
    return duels, [p.cluster for p in pairs]


def _some(rows: Sequence[T], count: int) -> list[T]:
    """A fixed subset in the order of `rows`; a larger count holds every row of a smaller one."""
    order = child(0, "judge", len(rows)).permutation(len(rows))[:count]
    return [rows[i] for i in sorted(order.tolist())]


def _record(
    asked: Judging,
    asker: PairJudge,
    docket: _Docket,
    rulings: list[Ruling],
    chosen: dict[str, Moment],
    start: str,
    seeds: tuple[int, ...],
) -> Judgement:
    at = len(docket.pairs)
    people, size, roads = rulings[:at], len(docket.prompts), []
    for road in docket.roads:
        table_SP = [rulings[at + k * size : at + (k + 1) * size] for k in range(docket.seeds)]
        at += docket.seeds * size
        moment = chosen[road]
        roads.append(
            JudgedRoad(
                road=road,
                knob=moment.cell.knob,
                value=moment.cell.value,
                duels=judgement.count_crossed(table_SP, docket.prompts),
                answers=judgement.answers_of(moment, chosen[start], docket.seeds),
            )
        )
    replies = [reply for ruling in rulings for reply in ruling.replies]
    return Judgement(
        model=asked.model,
        served=tuple(sorted({reply.model for reply in replies})),
        url=asker.chat.url,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version_of("allroads"),
        template=asker.template.text,
        template_hash=asker.template.fingerprint,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        max_chars=asked.max_chars,
        seeds=seeds,
        start=start,
        prompts=size,
        replies=len(replies),
        seconds=sum(r.seconds for r in replies) / len(replies) if replies else None,
        people=_agreement(docket, people),
        roads=tuple(roads),
    )


def _agreement(docket: _Docket, rulings: list[Ruling]) -> Agreement:
    lengths = [
        (len(duel.a), len(duel.b), ruling.winner)
        for duel, ruling in zip(docket.pairs, rulings, strict=True)
        if len(duel.a) != len(duel.b)
    ]
    decided = [(a > b) == (winner == "a") for a, b, winner in lengths if winner in ("a", "b")]
    return Agreement(
        duels=judgement.count_pairs(rulings, docket.pair_prompts),
        longer=sum(decided) / len(decided) if decided else None,
        longer_people=sum(a > b for a, b, _ in lengths) / len(lengths) if lengths else None,
    )
