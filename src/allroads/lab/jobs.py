"""From roads, seeds and settings to jobs: what depends on what, and what is the same work.

A job's id is a hash of everything that its result depends on (its choices, its parents' ids, the
seed, data, model and shared settings), so stages that two roads share are trained once, a finished
job is never repeated, and a run folder can grow by more roads, settings or seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from allroads.errors import ConfigError
from allroads.judges.template import Template
from allroads.lab.config import CompareConfig
from allroads.roads.atlas import Recipe, atlas, every_road
from allroads.roads.relabel import named
from allroads.roads.stage import (
    BASE,
    DATA,
    DEMONSTRATIONS,
    JUDGE,
    PAIRS,
    SELF,
    VERIFIER,
    WRITER,
    Road,
    Stage,
)

Kind = Literal[
    "pairs",
    "stage",
    "evaluate",
    "best-of-n",
    "scorer",
    "grader",
    "block",
    "reading",
    "pool",
    "offline",
]
GIVEN = "given:"
"""Prefix of a folder that the user gave instead of a stage."""
SELECTION = "selection-scorer"


@dataclass(frozen=True)
class Job:
    """One unit of work.

    Attributes:
        id: names it in the run folder: a readable label and a hash of all it depends on.
        kind: what to do.
        seed: the cell's seed.
        needs: ids of the jobs that must be finished before.
        spec: everything else that it depends on; plain JSON.
    """

    id: str
    kind: Kind
    seed: int
    needs: tuple[str, ...]
    spec: dict[str, Any]

    @property
    def stage(self) -> Stage:
        """The stage of a 'stage' job, its names resolved in `spec['links']`."""
        return Stage.model_validate(self.spec["stage"])

    def asks(self, labeller: str) -> bool:
        """Whether it has completions scored by this labeller: a job's id, or a word."""
        found = self.spec.get("links", self.spec).get("labeller")
        return found is not None and found["id"] == labeller


@dataclass(frozen=True)
class Cell:
    """One road at one setting with one seed: which jobs make it up.

    `last` is the job that trains the road's last stage (for best-of-N: its policy), `evaluation`
    the one that grades it, `ancestors` all 'stage' jobs that it stands on, `last` included.
    """

    road: str
    knob: str
    value: float | None
    seed: int
    last: str | None
    evaluation: str
    ancestors: tuple[str, ...]
    labeller: Literal["data", "outside", "none"]


@dataclass
class Plan:
    """Jobs in an order in which each comes after what it needs, and the cells they serve."""

    jobs: dict[str, Job] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    scorers: list[tuple[str, str, float | None, int, str]] = field(default_factory=list)
    """(name, kind, beta, seed, job id) of each reward model that is judged on held-out pairs."""
    starts: dict[int, str] = field(default_factory=dict)
    """The start policy's job (or 'base') by seed."""
    grader: str | None = None
    """The job that fits the grader and judges it on held-out pairs; None where truth is known."""

    def add(self, job: Job) -> str:
        """Add a job unless it is there; its id."""
        self.jobs.setdefault(job.id, job)
        return job.id


def chosen_roads(config: CompareConfig, recipe: Recipe) -> list[Road]:
    """The roads that the configuration names.

    Raises:
        ConfigError: for an unknown name, with the nearest valid one; for a road that the data
            cannot feed.
    """
    table = every_road(config.start_stage, recipe)
    for road in config.custom:
        if road.name in table:
            raise ConfigError(f"custom road {road.name!r} has the name of a built-in road")
        table[road.name] = road
    if "sft" in config.roads and "sft" not in table:
        raise ConfigError("road 'sft' is unknown (it needs --demonstrations)")
    roads = [named(name, table) for name in config.roads]
    for road in roads:
        for stage in road.stages:
            _check_outside(road, stage, config)
            follows = stage.pick == "group" or stage.objective.reference == WRITER
            taken = stage.objective.at(config.temperature)
            if follows and stage.source.temperature != taken:
                raise ConfigError(
                    f"road {road.name!r}: stage {stage.name!r} samples at temperature "
                    f"{stage.source.temperature:g}, but log-probabilities are taken at "
                    f"{taken:g}; ratios to the policy that wrote need both the same"
                )
            if stage.source.who == "demonstrations" and not (config.world or config.demonstrations):
                raise ConfigError(
                    f"road {road.name!r}: stage {stage.name!r} needs --demonstrations FILE"
                )
    return roads


def _check_outside(road: Road, stage: Stage, config: CompareConfig) -> None:
    """An outside labeller has to be given; only a world brings its verifier."""
    if stage.labeller == VERIFIER and config.world is None and config.verifier is None:
        raise ConfigError(
            f"road {road.name!r} is labelled by a verifier, and none is given: add --verifier "
            "FILE.py, whose function verify(prompts, completions) returns one number each"
        )
    if stage.labeller == JUDGE and config.judge_url is None:
        raise ConfigError(
            f"road {road.name!r} is labelled by a judge, and none is given: add --judge-url URL "
            "and --judge-model NAME"
        )


def plan(
    config: CompareConfig,
    recipe: Recipe,
    identity: str,
    given: Mapping[str, str] | None = None,
    *,
    grader: str = "",
    verifier: str = "",
) -> Plan:
    """All jobs of a comparison.

    Args:
        config: what was asked.
        recipe: the resolved schedules.
        identity: fingerprint of data, model and shared settings; part of every id.
        given: fingerprints of the folders that the user gave, by folder; part of the ids of the
            jobs that read them.
        grader: fingerprint of the resolved grader; part of the ids of the jobs that grade.
        verifier: fingerprint of the user's verifier; part of the ids of the jobs that use it.
    """
    out = Plan()
    roads = chosen_roads(config, recipe)

    def maker_of(seed: int) -> _Maker:
        return _Maker(
            config, recipe, identity, seed, out, given or {}, grader=grader, verifier=verifier
        )

    if config.world is None:
        # First of all, because every grade waits for it.
        out.grader = maker_of(config.seeds[0]).grader()
    for seed in config.seeds:
        maker = maker_of(seed)
        maker.start()
        for road in roads:
            maker.road(road)
        for name, folder in sorted(config.policies.items()):
            maker.given_policy(name, folder)
    return out


class _Maker:
    """Adds the jobs of one seed."""

    def __init__(
        self,
        config: CompareConfig,
        recipe: Recipe,
        identity: str,
        seed: int,
        out: Plan,
        given: Mapping[str, str],
        *,
        grader: str,
        verifier: str,
    ) -> None:
        self._config, self._recipe, self._identity = config, recipe, identity
        self._seed, self._plan, self._given = seed, out, given
        # A run may be graded again by another grader: its training stays, its grades do not.
        self._graded_by = {"grader": grader} if grader else {}
        self._verifier = {"file": verifier} if verifier else {}
        self._pairs: str | None = None
        self._start = BASE
        self._selection = ""

    def start(self) -> None:
        """The start policy, a world's pairs, and the selection scorer."""
        table = atlas(self._config.start_stage, self._recipe)
        if self._config.world is not None:
            sft = table["sft"].last
            self._start = self._stage(sft, {})
            self._pairs = self._job("pairs", "pairs", (self._start,), {"policy": self._start})
        elif self._config.start_stage != BASE:
            self._start = self._stage(table[self._config.start_stage].stages[0], {})
        self._plan.starts[self._seed] = self._start
        reward = table["reward-model"].last.model_copy(update={"name": SELECTION})
        self._selection = self._stage(
            reward, {self._config.start_stage: self._start}, split="selection"
        )
        self._scorer(SELECTION, "selection", None, self._selection, None)
        if self._start != BASE:
            name = "sft" if self._config.start_stage == "sft" else "sft-chosen"
            self._evaluate(name, "", None, self._start, (self._start,), None, snapshots=1)
        else:
            self._evaluate("base", "", None, BASE, (), None, snapshots=1)

    def road(self, road: Road) -> None:
        """Every setting of one road."""
        values: tuple[float | None, ...] = {
            "beta": self._config.betas,
            "N": self._config.ns,
            "": (None,),
        }[road.knob]
        if road.knob == "N":
            self._best_of_n(road)
            return
        for value in values:
            self._setting(road.at(value), road.knob, value)

    def given_policy(self, name: str, folder: str) -> None:
        """An already trained model."""
        self._evaluate(name, "", None, GIVEN + folder, (), None, snapshots=1)

    def grader(self) -> str:
        """The grader: fitted, and judged with its baselines on held-out pairs."""
        return self._job("grader", "grader", (), {**self._graded_by})

    def _setting(self, road: Road, knob: str, value: float | None) -> None:
        links, order = self._links(road.stages)
        last = links[road.last.name]
        beta = road.last.objective.beta
        if road.last.makes == "reward model":
            self._scorer(road.name, "global", None, last, None)
            return
        fitted = road.last.labeller == DATA and not road.last.source.sampled
        if fitted and road.last.objective.score == "implicit":
            self._scorer(road.name, "local", value, last, beta)
        if road.purpose == "scorer" or last == self._start:
            return
        # A judge compares rivals; where every policy answers alone it has nothing to say.
        alone = road.last.labeller == JUDGE
        labeller = None if alone else self._labeller(road.last, links)
        self._evaluate(
            road.name,
            knob,
            value,
            last,
            tuple(order),
            labeller,
            self._config.snapshots,
            outside=self._outside(road, links),
        )

    def _best_of_n(self, road: Road) -> None:
        links, order = self._links(road.stages[:-1])
        last = road.last
        policy = BASE if last.source.who == BASE else links[last.source.who]
        labeller = self._labeller(last, links)
        assert labeller is not None
        job = self._job(
            "best-of-n",
            road.name,
            _only_jobs((policy, labeller["id"], self._selection, self._pairs, self._plan.grader)),
            {
                "policy": policy,
                "labeller": labeller,
                "ns": list(self._config.ns),
                "pool": self._config.pool,
                "selection": self._selection,
                **self._evaluation_settings(),
            },
        )
        origin = "outside" if self._outside(road, links) else "data"
        for n in self._config.ns:
            self._plan.cells.append(
                Cell(road.name, "N", n, self._seed, policy, job, tuple(order), origin)
            )

    def _links(self, stages: tuple[Stage, ...]) -> tuple[dict[str, str], list[str]]:
        """Job ids by stage name, and those jobs in order."""
        links: dict[str, str] = {}
        order: list[str] = []
        for stage in stages:
            given = self._config.reward_model
            if given and stage.name == "reward-model":
                links[stage.name] = GIVEN + given
                continue
            links[stage.name] = self._stage(stage, dict(links))
            order.append(links[stage.name])
            if stage.makes == "reward model":
                self._scorer(stage.name, "global", None, links[stage.name], None)
        return links, order

    def _labeller(self, stage: Stage, links: dict[str, str]) -> dict[str, Any] | None:
        """How the labeller of a stage is found again: its job, or what is outside."""
        if stage.labeller in ("none", DATA):
            return None
        if stage.labeller == VERIFIER:
            return {"id": VERIFIER, "origin": "outside", **self._verifier}
        if stage.labeller == JUDGE:
            # Not its address: a server may move.
            asked = [self._config.judge_model, self._config.judge_max_tokens]
            return {"id": JUDGE, "origin": "outside", "asked": [*asked, Template().fingerprint]}
        job_id = links[stage.labeller]
        origin = "outside" if job_id.startswith(GIVEN) else "data"
        return {"id": job_id, "origin": origin}

    def _outside(self, road: Road, links: dict[str, str]) -> bool:
        """Whether any stage of the road, not only its last, was labelled from outside."""
        labellers = [self._labeller(stage, links) for stage in road.stages]
        return any(one is not None and one["origin"] == "outside" for one in labellers)

    def _stage(
        self,
        stage: Stage,
        links: dict[str, str],
        *,
        split: str = "train",
    ) -> str:
        resolved = {
            "start": links.get(stage.start, BASE),
            "writer": "",
            "replayed": links[stage.source.who] if stage.source.replayed else "",
            "labeller": self._labeller(stage, links),
            "reference": self._reference(stage, links),
            "critic": links.get(stage.critic, ""),
        }
        if stage.source.sampled:
            own = BASE if stage.source.who == BASE else ""
            resolved["writer"] = links.get(stage.source.who, own)
        roles = ("start", "writer", "replayed", "reference", "critic")
        parents = [resolved[key] for key in roles]
        parents.append(resolved["labeller"]["id"] if resolved["labeller"] else "")
        if self._pairs is not None and stage.source.who != DEMONSTRATIONS:
            parents.append(self._pairs)
        needs = _only_jobs(parents)
        label = stage.name + ("" if stage.objective.beta is None else f"-b{stage.objective.beta:g}")
        spec = {"stage": stage.model_dump(mode="json"), "links": resolved, "split": split}
        if stage.makes == "policy":
            spec["snapshots"] = self._config.snapshots
        return self._job("stage", label, needs, spec)

    def _reference(self, stage: Stage, links: dict[str, str]) -> str:
        name = stage.objective.reference
        if name is None or name == WRITER:
            return ""
        if name == "start":
            name = stage.start
        return links.get(name, BASE)

    def _evaluate(
        self,
        road: str,
        knob: str,
        value: float | None,
        policy: str,
        ancestors: tuple[str, ...],
        labeller: dict[str, Any] | None,
        snapshots: int,
        *,
        outside: bool = False,
    ) -> None:
        if any(
            c.road == road and c.seed == self._seed and c.value == value for c in self._plan.cells
        ):
            return
        needs = (policy, self._start, self._selection, self._pairs, self._plan.grader)
        needs = (*needs, labeller["id"] if labeller else None)
        job = self._job(
            "evaluate",
            f"evaluate-{road}" + ("" if value is None else f"-{knob}{value:g}"),
            _only_jobs(needs),
            {
                "policy": policy,
                "labeller": labeller,
                "snapshots": snapshots,
                "selection": self._selection,
                **self._evaluation_settings(),
            },
        )
        origin = "outside" if outside else "data" if ancestors else "none"
        self._plan.cells.append(Cell(road, knob, value, self._seed, policy, job, ancestors, origin))

    def _scorer(
        self, name: str, kind: str, value: float | None, target: str, beta: float | None
    ) -> None:
        if not _is_job(target):
            return
        if any(
            row[0] == name and row[2] == value and row[3] == self._seed
            for row in self._plan.scorers
        ):
            return
        job = self._job(
            "scorer",
            f"judge-{name}" + ("" if value is None else f"-beta{value:g}"),
            _only_jobs((target, self._pairs)),
            {"target": target, "beta": beta},
        )
        self._plan.scorers.append((name, kind, value, self._seed, job))

    def _evaluation_settings(self) -> dict[str, Any]:
        return {
            "start": self._start,
            "prompts": self._config.eval_prompts,
            "samples": self._config.samples_per_prompt,
            **self._graded_by,
        }

    def _job(self, kind: Kind, label: str, needs: tuple[str, ...], spec: dict[str, Any]) -> str:
        text = json.dumps(spec)
        read = [
            content for path, content in self._given.items() if json.dumps(GIVEN + path) in text
        ]
        digest = fingerprint([self._identity, kind, self._seed, needs, spec, read])[:8]
        return self._plan.add(Job(f"{label}-s{self._seed}-{digest}", kind, self._seed, needs, spec))


def _only_jobs(names: Iterable[str | None]) -> tuple[str, ...]:
    """The job ids among `names`, each once, in order."""
    return tuple(dict.fromkeys(name for name in names if name and _is_job(name)))


def fingerprint(value: Any) -> str:
    """A name for a plain value: equal values, equal names."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _is_job(name: str | None) -> bool:
    return (
        bool(name)
        and name not in (BASE, SELF, VERIFIER, JUDGE, PAIRS)
        and not str(name).startswith(GIVEN)
    )
