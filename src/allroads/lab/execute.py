"""What each kind of job does. A job reads its parents' files, writes its own, and is then done.

Every job can be killed and started again: whole files appear at once, stages go on from their last
checkpoint, and a job whose result file exists is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allroads import files
from allroads.errors import TrainingError
from allroads.evaluation import graders
from allroads.evaluation.policies import Bench, Metric, measure_best_of_n, measure_policy
from allroads.evaluation.scorers import margins
from allroads.evaluation.wins import Wins
from allroads.judges import GlobalLabeller
from allroads.lab.jobs import SELECTION, Job, fingerprint
from allroads.lab.prepare import label_entropy, paraphrased, with_pairs
from allroads.lab.tracking import about_stage, tracked
from allroads.lab.workshop import Workshop
from allroads.models.critic import ActorCritic
from allroads.models.reward_model import RewardModel
from allroads.models.states import Rows
from allroads.roads import checkpoint, replay
from allroads.roads.accumulate import Trainee
from allroads.roads.loop import Keeping, clear_checkpoints, train
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Round
from allroads.seeding import child
from allroads.types import Completion, Pair, Prompt, Split, Verifier

FAILED = "failed"
"""Key of a result that is not there, with the reason."""
PARAPHRASED = "paraphrased"
"""Key of a scorer's margins on the held-out pairs in other tokens, where the world has them."""
Progress = Callable[[int, int], None]
_TRAIN_PAIRS = 150
"""Training pairs on which a scorer is judged, beside all held-out ones."""


def result_path(folder: Path, job: Job) -> Path:
    """The file whose existence says that a job is done."""
    if job.kind == "stage":
        return _stage_result(folder, job.id)
    if job.kind == "pairs":
        return folder / "data" / f"{job.id}.done.json"
    return folder / "evaluations" / f"{job.id}.json"


def _stage_result(folder: Path, job_id: str) -> Path:
    return folder / "checkpoints" / job_id / "done.json"


def execute(shop: Workshop, job: Job, progress: Progress) -> None:
    """Do one job and write its result.

    A stage that finds nothing to learn from, or diverges, has failed: its reason is its result,
    and everything that needs it has failed for the same reason.

    Raises:
        TrainingError: when the stage that failed is the start policy or the selection scorer,
            without which no road can be judged.
    """
    work = {
        "pairs": _pairs,
        "stage": _stage,
        "evaluate": _evaluate,
        "best-of-n": _best_of_n,
        "scorer": _scorer,
        "grader": _grader,
    }[job.kind]
    reason = _failed_before(shop, job)
    if reason is not None:
        result: dict[str, Any] = {FAILED: reason}
    else:
        try:
            result = work(shop, job, progress)
        except TrainingError as error:
            if job.kind == "stage" and job.stage.name in (SELECTION, shop.config.start_stage):
                raise
            result = {FAILED: str(error)}
    files.write_json(result_path(shop.folder, job), result)


def _failed_before(shop: Workshop, job: Job) -> str | None:
    """Why a stage that the job needs has failed, if one has."""
    for need in job.needs:
        path = _stage_result(shop.folder, need)
        if path.is_file() and FAILED in (before := files.read_json(path)):
            return before[FAILED]
    return None


def _pairs(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    assert shop.world is not None
    before = shop.dataset((), job.seed)
    policy = shop.policy(job.spec["policy"], job.seed)
    dataset = with_pairs(
        shop.world,
        before,
        policy,
        shop.config.sizes,
        seed=job.seed,
        batch_size=shop.settings.sample_batch,
    )
    files.write_text(shop.pairs_path(job.id), dataset.to_json())
    return {"label_nll": label_entropy(shop.world, dataset)}


def _stage(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    stage, links = job.stage, job.spec["links"]
    dataset = shop.dataset(job.needs, job.seed)
    if job.spec["split"] != "train":
        pairs: dict[Split, tuple[Pair, ...]] = {
            **dataset.pairs,
            "train": dataset.pairs[job.spec["split"]],
        }
        dataset = type(dataset)(
            pairs=pairs,
            demonstrations=(),
            prompts={**dataset.prompts, "train": dataset.prompts[job.spec["split"]]},
            audit=dataset.audit,
        )
    reference = partial(shop.policy, links["reference"], job.seed) if links["reference"] else None
    writer = shop.policy(links["writer"], job.seed) if links["writer"] else None
    supplies = Supplies(
        dataset=dataset,
        seed=job.seed,
        address=stage.name,
        reference=reference,
        writer=writer,
        labeller=shop.labeller(links["labeller"], job.seed),
        temperature=shop.config.temperature,
        max_new_tokens=shop.settings.max_new_tokens,
        token_budget=shop.config.token_budget,
        sample_batch=shop.settings.sample_batch,
        fixed_length=shop.settings.fixed_length,
        replayed=_replayed(shop, links["replayed"]),
        reference_cache=_reference_cache(shop, job, stage),
    )
    folder = shop.folder / "checkpoints" / job.id
    keeping = Keeping(folder, job.spec.get("snapshots", 1), shop.config.checkpoint_seconds)
    trainee = _trainee(shop, stage, links, job.seed)
    with tracked(shop.folder, shop.config, job.id, about_stage(job, shop.settings)) as tell:
        cost = train(stage, trainee, supplies, keeping, progress, tell)
    if isinstance(trainee, RewardModel):
        _centre(trainee, supplies)
    made = trainee.policy if isinstance(trainee, ActorCritic) else trainee

    def fill(path: Path) -> None:
        made.save(path)
        shop.save_tokenizer(path)

    files.write_folder(folder / "model", fill)
    objective = stage.objective
    files.write_json(
        folder / "stage.json",
        {
            "stage": job.spec["stage"],
            "makes": stage.makes,
            "reference": links["reference"],
            "beta": None if objective.beta is None else objective.price,
            "over_tokens": objective.over_tokens,
            "temperature": objective.at(shop.config.temperature),
        },
    )
    clear_checkpoints(keeping)
    return {"cost": cost.model_dump(), "seed": job.seed}


def _replayed(shop: Workshop, name: str) -> Round | None:
    """The pairs that the stage of this job was trained on."""
    if not name:
        return None
    folder = shop.folder / "checkpoints" / name
    stage = Stage.model_validate(files.read_json(folder / "stage.json")["stage"])
    return replay.kept(folder, stage.schedule.rounds)


def _reference_cache(shop: Workshop, job: Job, stage: Stage) -> Path:
    """One file for all stages that read the same completions under the same reference."""
    same = [job.spec["links"]["reference"], job.seed, job.spec["split"], stage.source.who]
    same += [stage.pick, shop.settings.data_fingerprint, shop.settings.model_fingerprint]
    same += [need for need in job.needs if shop.pairs_path(need).is_file()]
    same += [stage.objective.at(shop.config.temperature), shop.config.dtype]
    same += [shop.config.token_budget]
    return shop.folder / "cache" / f"reference-logprobs-{fingerprint(same)}.json"


def _trainee(shop: Workshop, stage: Stage, links: dict[str, Any], seed: int) -> Trainee:
    start = links["start"]
    if stage.objective.score.startswith("head-"):
        reading = stage.objective.score.removeprefix("head-")
        return shop.new_reward_model(start, seed, reading)  # type: ignore[arg-type]
    policy = shop.fresh_policy(start, seed)
    if stage.objective.critic is None:
        return policy
    return ActorCritic(policy, shop.new_critic(links["critic"], start, seed))


@torch.no_grad()
def _centre(model: RewardModel, supplies: Supplies) -> None:
    """Set the offset so that demonstrations (else chosen completions) score 0 on average.

    Source: Huang et al. 2024, arXiv:2403.17031.
    """
    dataset = supplies.dataset
    rows = [(d.prompt, d.completion) for d in dataset.demonstrations[:512]]
    rows = rows or [(p.prompt, p.chosen) for p in dataset.pairs["train"][:512]]
    labeller = GlobalLabeller(model, supplies.token_budget)
    scores = labeller(Rows([p for p, _ in rows], [c for _, c in rows]))
    model.offset += float(np.mean(scores))


def answered(test: int) -> tuple[int, int]:
    """Training and selection prompts that are answered beside so many test prompts, at most."""
    return max(24, test // 2), max(48, test // 2)


def _bench(shop: Workshop, job: Job) -> Bench:
    dataset = shop.dataset(job.needs, job.seed)
    start = shop.policy(job.spec["start"], job.seed)
    test = _some(dataset.prompts["test"], job.spec["prompts"])
    train, selection = answered(job.spec["prompts"])
    draw = {
        "temperature": shop.config.temperature,
        "max_new_tokens": shop.settings.max_new_tokens,
        "seed": job.seed,
        "token_budget": shop.config.token_budget,
        "sample_batch": shop.settings.sample_batch,
        "fixed_length": shop.settings.fixed_length,
        "check": _second_opinion(shop),
    }
    bench = Bench(
        test=test,
        train=_some(dataset.prompts["train"], train),
        selection=_some(dataset.prompts["selection"], selection),
        metric=_metric(shop, job, lambda: bench),
        start=start,
        selection_scorer=shop.scorer(job.spec["selection"], job.seed),
        samples=job.spec["samples"],
        **draw,
    )
    return bench


def _some(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """A fixed subset, the same for every seed and road."""
    if len(prompts) <= count:
        return list(prompts)
    order = child(0, "evaluation-prompts", len(prompts)).permutation(len(prompts))[:count]
    return [prompts[i] for i in sorted(order.tolist())]


def _of_answers(verifier: Verifier) -> Metric:
    return lambda answers: verifier([a.prompt.tokens for a in answers], [a.tokens for a in answers])


def _second_opinion(shop: Workshop) -> Metric | None:
    verifier = shop.world.second_opinion if shop.world is not None else None
    return None if verifier is None else _of_answers(verifier)


def _metric(shop: Workshop, job: Job, bench: Callable[[], Bench]) -> Metric:
    if shop.world is not None:
        return _of_answers(shop.world.verify)

    def draw(prompts: Sequence[Prompt]) -> list[Completion]:
        own = bench()
        return [group[0] for group in own.answers(own.start, prompts, "opponent", 1)]

    return shop.wins(job.spec["start"], job.seed, draw)


def _opponent_lengths(bench: Bench) -> list[int] | None:
    """Where answers compete with the start policy's: the length of those, by test prompt."""
    return bench.metric.opponent_lengths(bench.test) if isinstance(bench.metric, Wins) else None


def _evaluate(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    bench = _bench(shop, job)
    name, count = job.spec["policy"], job.spec["snapshots"]
    proxy = shop.labeller(job.spec["labeller"], job.seed)
    snapshots = []
    policy = shop.policy(name, job.seed) if count == 1 else shop.fresh_policy(name, job.seed)
    for index in range(1, count + 1):
        if count > 1:
            folder = shop.folder / "checkpoints" / name
            checkpoint.load_weights(policy.model, Keeping(folder).snapshot(index))
        record, answers = measure_policy(bench, policy, proxy)
        texts = _texts(shop, bench, answers)
        record |= {"opponent_length": _opponent_lengths(bench), "answers": texts}
        snapshots.append({"fraction": index / count, **record})
        progress(index, count)
    return {"snapshots": snapshots}


def _best_of_n(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    bench = _bench(shop, job)
    labeller = shop.labeller(job.spec["labeller"], job.seed)
    assert labeller is not None
    measured = measure_best_of_n(
        bench, shop.policy(job.spec["policy"], job.seed), labeller, job.spec["ns"], job.spec["pool"]
    )
    return {
        "by_n": {
            str(n): {
                "fraction": 1.0,
                **record,
                "opponent_length": _opponent_lengths(bench),
                "answers": _texts(shop, bench, answers),
            }
            for n, (record, answers) in measured.items()
        }
    }


def _texts(shop: Workshop, bench: Bench, answers: list[Completion]) -> list[dict[str, Any]]:
    """One answer to each test prompt, for readers and for judges that come later."""
    scores = bench.metric(answers)
    return [
        {
            "prompt_id": a.prompt.prompt_id,
            "cluster": a.prompt.cluster,
            "prompt": shop.decode(a.prompt.tokens),
            "text": shop.decode(a.tokens),
            "tokens": len(a.tokens),
            "finished": a.finished,
            "score": score,
        }
        for a, score in zip(answers, scores, strict=True)
    ]


def _scorer(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    dataset = shop.dataset(job.needs, job.seed)
    labeller = shop.scorer(job.spec["target"], job.seed)
    if job.spec["beta"] is not None:
        assert labeller.origin == "data"
    test_pairs, train_pairs = dataset.pairs["test"], dataset.pairs["train"][:_TRAIN_PAIRS]
    out = {"test": margins(labeller, test_pairs), "train": margins(labeller, train_pairs)}
    if shop.world is not None and (reworded := paraphrased(shop.world, test_pairs)):
        out[PARAPHRASED] = margins(labeller, reworded)
    return out


def _grader(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    own, held_out = shop.text_pairs("grader"), shop.text_pairs("test")
    # The baseline may itself be the grader: then it is fitted already.
    known = shop.grader if isinstance(shop.grader, graders.TfIdf) else None
    judges = {
        "grader": shop.grader,
        "length": graders.fit_length(own),
        "tf-idf": known or graders.fit_tf_idf(own),
    }
    return {
        "margins": {
            name: graders.margins(judge, held_out).tolist() for name, judge in judges.items()
        },
        "clusters": held_out.clusters,
        "labels": len(own),
        "description": graders.describe(shop.settings.grader),
    }


__all__ = ["execute", "result_path"]
