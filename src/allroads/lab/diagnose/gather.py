"""From the finished jobs of a diagnosis to its evidence; no model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from allroads import files
from allroads.errors import RunFolderError
from allroads.evidence import FULL, Evidence, Fit, HeldOut, Learner, Pool, Trial
from allroads.lab.compare import Prepared
from allroads.lab.diagnose.design import EvidencePlan
from allroads.lab.execute import FAILED, result_path
from allroads.lab.folder import revision, version_of
from allroads.records import Cost

_LEARNERS: tuple[Learner, ...] = ("verifier", "generator")


def gather(
    plan: EvidencePlan,
    prepared: Prepared,
    folder: Path,
    command: str,
    roads: Mapping[str, Cost],
) -> Evidence:
    """What is there; what is not is listed.

    Args:
        plan: the jobs.
        prepared: whose jobs they are.
        folder: where their results lie.
        command: how to measure this again.
        roads: what one training of each road is estimated to cost.

    Raises:
        RunFolderError: when not even the held-out pairs have been read, or a learner was not fitted
            to any part of the data.
    """
    results: dict[str, dict[str, Any]] = {}
    left: Counter[str] = Counter()
    for job in plan.jobs.values():
        path = result_path(folder, job)
        if not path.is_file():
            left[f"{_KINDS[job.kind]}: not reached within the budget"] += 1
            continue
        found = files.read_json(path)
        if FAILED in found:
            left[f"{_KINDS[job.kind]}: {found[FAILED]}"] += 1
        else:
            results[job.id] = found
    fits = _fits(plan, results)
    if (
        plan.reading not in results
        or plan.pool not in results
        or {f.learner for f in fits} != {*_LEARNERS}
    ):
        raise RunFolderError(
            f"{folder}: too little was measured for a diagnosis ("
            + "; ".join(f"{count} x {words}" for words, count in left.items())
            + "); run the same command again with a larger --budget: it goes on where it ended"
        )
    reading = results[plan.reading]
    costs = {name: Cost(**found["cost"]) for name, found in results.items() if "cost" in found}
    own = costs.pop(plan.start, Cost())
    return Evidence(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version_of("allroads"),
        revision=revision(),
        command=command,
        data=prepared.settings.data_label,
        model=prepared.settings.model_label,
        pairs=reading["pairs"],
        other_labels=reading["other_labels"],
        repeats=tuple(map(tuple, reading["repeats"])),
        fits=fits,
        held_out=HeldOut.model_validate({name: reading[name] for name in HeldOut.model_fields}),
        independent=_test(plan, results, "independent"),
        start=_pool(results[plan.pool]),
        offline=_pool(results[plan.offline]) if plan.offline in results else None,
        trials=tuple(map(Trial.model_validate, results.get(plan.offline, {}).get("trials", ()))),
        beta=plan.beta,
        cost=sum(costs.values(), Cost()),
        start_cost=own,
        roads=dict(roads),
        left_out=tuple(f"{count} x {words}" for words, count in left.items()),
    )


_KINDS = {
    "stage": "a training",
    "pairs": "drawing pairs",
    "scorer": "a reward model on held-out pairs",
    "block": "a fit to a part of the data",
    "reading": "reading the pairs",
    "pool": "drawing samples",
    "offline": "choosing the offline policy",
}


def _fits(plan: EvidencePlan, results: Mapping[str, dict[str, Any]]) -> tuple[Fit, ...]:
    """Each order up to its first gap: a code has no holes."""
    out = []
    broken: set[tuple[Learner, str, int]] = set()
    for name, (learner, capacity, order, _) in plan.blocks.items():
        if name not in results:
            broken.add((learner, capacity, order))
        elif (learner, capacity, order) not in broken:
            fields = {key: value for key, value in results[name].items() if key in Fit.model_fields}
            out.append(Fit(learner=learner, capacity=capacity, order=order, **fields))
    roads: dict[Learner, str] = {"verifier": "reward-model", "generator": "local-rm"}
    for learner, road in roads.items():
        trained = plan.training[road]
        test = _test(plan, results, learner) if plan.reading in results else ()
        if test and (learner, FULL, 0) not in broken:
            out.append(
                Fit(
                    learner=learner,
                    capacity=FULL,
                    order=0,
                    count=results[plan.reading]["pairs"],
                    test=test,
                    cost=Cost(**results[trained]["cost"]),
                )
            )
    return tuple(out)


def _test(
    plan: EvidencePlan, results: Mapping[str, dict[str, Any]], role: str
) -> tuple[float, ...]:
    """A scorer's leads on those held-out pairs that the diagnosis reads."""
    found = results.get(plan.scorers[role], {}).get("test")
    return tuple(found[at] for at in results[plan.reading]["places"]) if found else ()


def _pool(result: dict[str, Any]) -> Pool:
    fields = {name: result[name] for name in Pool.model_fields if name in result}
    return Pool.model_validate(fields)
