"""What a diagnosis measures, as jobs: fits to parts of the data, samples, held-out pairs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from allroads.diagnoses import OFFLINE, ONLINE, SEARCH
from allroads.errors import ConfigError
from allroads.evidence import FULL, Learner
from allroads.lab.compare import Prepared
from allroads.lab.diagnose.blocks import blocks_of
from allroads.lab.jobs import SELECTION, Job, Kind, fingerprint
from allroads.records import Record
from allroads.roads.choices import VERIFIER
from allroads.roads.stage import BASE

ROADS = ("reward-model", "local-rm")
"""The two learners, which a diagnosis trains on all pairs."""
OFFLINE_SETTINGS = ((1.0, 2.0), (0.3, 0.6))
"""The offline policy that answers are compared with is DPO, tuned as a comparison tunes it, over
these settings, (factor on the recipe's rate, factor on the generator's beta), and the moments that
a comparison looks at. A fast one that stays near, a slow one that may go far. On the calibration
study's worlds one seed of these two says how search compares with tuned DPO of other seeds as well
as one seed of both rates at both betas (rank correlation 0.94); both betas at the recipe's rate say
it worse (0.88), as a fifth of the worlds then have no setting within reach (LOG.md, 2026-11-29)."""
PRICED = (OFFLINE, SEARCH, *ONLINE)
"""Roads whose cost is estimated and which are not run."""


class Design(Record):
    """How much is measured.

    Attributes:
        orders: permutations of the training prompts, each fitted block by block.
        smallest: pairs of the first block, at least.
        held_out: held-out pairs that are read, at most.
        prompts: held-out prompts that are answered.
        samples: of the start policy for each.
        offline_samples: of the offline policy for each.
        tried_samples: of every setting that it is chosen from, for each.
        capacities: further learners on half the pairs: 'head', and 'rank R' where peft is there.
        truth: whether samples are also graded by the world's verifying program; a user's always
            grades.
    """

    orders: int = Field(default=5, ge=1)
    smallest: int = Field(default=64, ge=8)
    held_out: int = Field(default=256, ge=8)
    prompts: int = Field(default=96, ge=8)
    samples: int = Field(default=24, ge=4)
    offline_samples: int = Field(default=8, ge=1)
    tried_samples: int = Field(default=2, ge=1)
    capacities: tuple[str, ...] = ("head", "rank 4")
    truth: bool = False


@dataclass(frozen=True)
class EvidencePlan:
    """Jobs, first what the rest stands on, then what a short budget should still hold.

    Attributes:
        jobs: all of them, each after what it needs.
        start: the start policy's job, or 'base'.
        training: the stage jobs by road.
        scorers: the jobs that judge 'verifier', 'generator' and 'independent' on held-out pairs.
        blocks: (learner, capacity, order, block) of each fit to a part of the data.
        reading, pool, offline: the jobs that read the held-out pairs and draw the samples.
        beta: of the generator.
    """

    jobs: dict[str, Job]
    start: str
    training: dict[str, str]
    scorers: dict[str, str]
    blocks: dict[str, tuple[Learner, str, int, int]]
    reading: str
    pool: str
    offline: str
    beta: float


def evidence_plan(
    prepared: Prepared, offline: Mapping[float, Prepared], design: Design
) -> EvidencePlan:
    """All jobs of a diagnosis.

    Args:
        prepared: a comparison of `ROADS`.
        offline: those of `OFFLINE` on the same data and model that are tried, by their factor on
            the recipe's rate.
        design: how much is measured.

    Raises:
        ConfigError: when the truth is asked for and there is no program that knows it, or when the
            comparison has several seeds or betas.
    """
    config, plan = prepared.config, prepared.plan
    if len(config.seeds) != 1 or len(config.betas) != 1:
        raise ConfigError(
            "a diagnosis has one seed and one beta (its repetitions are orders of the data): got "
            f"seeds {list(config.seeds)}, betas {list(config.betas)}"
        )
    if design.truth and config.world is None and config.verifier is None:
        raise ConfigError(
            "the truth is asked for, but no verifier is given: add --verifier FILE.py"
        )
    (seed,), (beta,) = config.seeds, config.betas
    judged = {name: job for name, _, _, _, job in plan.scorers}
    named = {"verifier": "reward-model", "generator": "local-rm", "independent": SELECTION}
    scorers = {role: judged[name] for role, name in named.items()}
    training = {name: plan.jobs[judged[name]].spec["target"] for name in ROADS}
    start = plan.starts[seed]
    maker = _Maker(prepared, design, start)
    reading = maker.add("reading", "read-pairs", {"start": start})
    learners: dict[Learner, str] = {
        "verifier": training["reward-model"],
        "generator": training["local-rm"],
    }
    graders = {role: plan.jobs[job].spec["target"] for role, job in scorers.items()}
    pool = maker.pool(graders)
    chosen = maker.offline(offline, pool, graders)
    own = maker.made
    blocks = dict(maker.blocks(learners, reading))
    wanted = [*scorers.values(), *own, *blocks]
    tried = {name: job for one in offline.values() for name, job in one.plan.jobs.items()}
    jobs = _with_needs({**tried, **plan.jobs, **maker.made}, wanted)
    first = [name for name, job in jobs.items() if job.kind != "block"]
    # Two orders come before the samples: without them there is no interval.
    early = [name for name, (_, capacity, order, _) in blocks.items()
             if order < 2 and capacity == FULL]  # fmt: skip
    cut = next(i for i, name in enumerate(first) if jobs[name].kind == "pool")
    sequence = [*first[:cut], *early, *first[cut:], *blocks]
    return EvidencePlan(
        jobs={name: jobs[name] for name in dict.fromkeys(sequence)},
        start=start,
        training=training,
        scorers=scorers,
        blocks=blocks,
        reading=reading,
        pool=pool,
        offline=chosen,
        beta=beta,
    )


class _Maker:
    """Adds the jobs that only a diagnosis has."""

    def __init__(self, prepared: Prepared, design: Design, start: str) -> None:
        self._prepared, self._design, self._start = prepared, design, start
        self._pairs = next(
            (job.id for job in prepared.plan.jobs.values() if job.kind == "pairs"), None
        )
        self.made: dict[str, Job] = {}

    def add(self, kind: Kind, label: str, spec: dict[str, Any], *needs: str) -> str:
        """One job; its id."""
        settings, (seed,) = self._prepared.settings, self._prepared.config.seeds
        spec = {**spec, "held_out": self._design.held_out}
        every = (self._start, self._pairs, *needs)
        parents = tuple(dict.fromkeys(one for one in every if one and one != BASE))
        digest = fingerprint(
            [kind, seed, parents, spec, settings.data_fingerprint, settings.model_fingerprint]
        )[:8]
        job = Job(f"{label}-s{seed}-{digest}", kind, seed, parents, spec)
        self.made[job.id] = job
        return job.id

    def pool(self, graders: dict[str, str]) -> str:
        """Samples of the start policy, graded."""
        spec = self._samples(graders, self._design.samples)
        return self.add("pool", "pool-start", spec, *graders.values())

    def offline(self, offline: Mapping[float, Prepared], pool: str, graders: dict[str, str]) -> str:
        """Samples of the offline policy, graded; chosen by how it compares with the start's."""
        policies = [
            {"id": cell.last, "rate": rate, "beta": cell.value}
            for rate, one in offline.items()
            for cell in one.plan.cells
            if cell.road == OFFLINE
        ]
        spec = {
            **self._samples(graders, self._design.offline_samples),
            "tried_samples": self._design.tried_samples,
            "pool": pool,
            "policies": policies,
            "snapshots": self._prepared.config.snapshots,
        }
        names = [str(one["id"]) for one in policies]
        return self.add("offline", "pool-offline", spec, pool, *names, *graders.values())

    def _samples(self, graders: dict[str, str], samples: int) -> dict[str, Any]:
        truth = {"truth": VERIFIER} if self._design.truth else {}
        return {
            "start": self._start,
            "graders": {**graders, **truth},
            "prompts": self._design.prompts,
            "samples": samples,
            "verifier": self._prepared.settings.verifier_fingerprint if truth else "",
        }

    def blocks(
        self, learners: dict[Learner, str], reading: str
    ) -> Iterator[tuple[str, tuple[Learner, str, int, int]]]:
        """(id, what it is) of the fits: by order, then from the smallest."""
        config = self._prepared.config
        dataset = self._prepared.dataset
        pairs = config.sizes.pairs if dataset is None else len(dataset.pairs["train"])
        count = blocks_of(pairs, self._design.smallest)
        for order in range(self._design.orders):
            for block in range(count - 1):
                for learner, job in learners.items():
                    yield self._fit(learner, FULL, order, block, count, job, reading)
        for capacity in self._design.capacities:
            if not capacity_is_there(capacity, adapted=config.lora is not None):
                continue
            for learner, job in learners.items():
                if capacity != "head" or learner == "verifier":
                    yield self._fit(learner, capacity, 0, count - 2, count, job, reading)

    def _fit(
        self,
        learner: Learner,
        capacity: str,
        order: int,
        block: int,
        count: int,
        trained: str,
        reading: str,
    ) -> tuple[str, tuple[Learner, str, int, int]]:
        full = self._prepared.plan.jobs[trained]
        spec = {
            "learner": learner,
            "capacity": capacity,
            "order": order,
            "block": block,
            "blocks": count,
            "stage": full.spec["stage"],
            "links": full.spec["links"],
            "reading": reading,
        }
        label = f"fit-{learner}-{order}-{block}"
        return self.add("block", label, spec, reading), (learner, capacity, order, block)


def capacity_is_there(capacity: str, *, adapted: bool) -> bool:
    """Whether a capacity can be tried: adapters need their package, and weights of their own."""
    if not capacity.startswith("rank "):
        return True
    return not adapted and importlib.util.find_spec("peft") is not None


def _with_needs(jobs: dict[str, Job], names: list[str]) -> dict[str, Job]:
    """Some jobs and all that they stand on, each after what it needs."""
    out: dict[str, Job] = {}

    def visit(name: str) -> None:
        if name not in out:
            for need in jobs[name].needs:
                visit(need)
            out[name] = jobs[name]

    for name in names:
        visit(name)
    return out
