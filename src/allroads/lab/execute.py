"""What each kind of job does. A job reads its parents' files, writes its own, and is then done.

Every job can be killed and started again: whole files appear at once, stages go on from their last
checkpoint, and a job whose result file exists is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from allroads import files
from allroads.errors import TrainingError
from allroads.evaluation import graders
from allroads.evaluation.policies import Bench, Metric, measure_best_of_n, measure_policy
from allroads.evaluation.scorers import margins
from allroads.evaluation.wins import Wins
from allroads.lab.diagnose.fitting import fit_part
from allroads.lab.diagnose.pools import draw_offline, draw_pool
from allroads.lab.diagnose.reading import read_pairs
from allroads.lab.jobs import SELECTION, Job
from allroads.lab.prepare import label_entropy, paraphrased, with_pairs
from allroads.lab.stages import train_stage
from allroads.lab.workshop import Workshop
from allroads.roads import checkpoint
from allroads.roads.loop import Keeping
from allroads.seeding import child
from allroads.types import Completion, Prompt, Verifier

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
        "stage": train_stage,
        "evaluate": _evaluate,
        "best-of-n": _best_of_n,
        "scorer": _scorer,
        "grader": _grader,
        "block": fit_part,
        "reading": read_pairs,
        "pool": draw_pool,
        "offline": draw_offline,
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
