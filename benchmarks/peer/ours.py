"""Our side: a stage through the one loop."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from peer.task import BETA, EOS, GROUP, LENGTH, RATE, Clock, Task, reward


def stage_of(task: Task) -> Any:
    """What our loop trains; the choices are those of TRL's trainer."""
    from allroads.roads.choices import Objective, Schedule, Source
    from allroads.roads.stage import Stage

    pairs = {"source": Source(who="pairs"), "labeller": "data"}
    near = {"reference": "start", "beta": BETA}
    implicit = {"score": "implicit", **near}

    def fresh(count: int, pick: str) -> dict[str, Any]:
        source = Source(who="self", per_prompt=count, refresh="update")
        return {"source": source, "labeller": "verifier", "pick": pick}

    made, objective = {
        "sft": ({"source": Source(who="demonstrations")}, {"loss": "likelihood"}),
        "reward": (pairs, {"loss": "bradley-terry", "score": "head-last"}),
        "dpo": (pairs, {"loss": "bradley-terry", **implicit}),
        "kto": (pairs, {"loss": "kahneman-tversky", **implicit}),
        "online-dpo": (fresh(2, "two"), {"loss": "bradley-terry", **implicit}),
        "rloo": (
            fresh(GROUP, "group"),
            {"loss": "policy-gradient", "advantage": "leave-one-out", "kl": "reward", **near},
        ),
        "grpo": (
            fresh(GROUP, "group"),
            {
                **{"loss": "clipped", "advantage": "standardised", "kl": "loss"},
                **{"normalise": "sequence", **near},
            },
        ),
    }[task.work]
    schedule = Schedule(
        learning_rate=RATE,
        batch_size=task.prompts,
        rounds=task.steps if made["source"].sampled else 1,
    )
    return Stage(
        name=f"measured-{task.work}", objective=Objective(**objective), schedule=schedule, **made
    )


def dataset_of(task: Task) -> Any:
    """Pairs, demonstrations and prompts of all steps."""
    from allroads.data.audit import audit_of
    from allroads.data.dataset import Dataset
    from allroads.data.split import SPLITS
    from allroads.types import Demonstration, Pair, Prompt, Split

    rows = [(str(i), *map(tuple, row)) for i, row in enumerate(task.texts())]
    pairs: dict[Split, tuple[Pair, ...]] = {split: () for split in SPLITS}
    pairs["train"] = tuple(Pair(prompt_id=i, prompt=p, chosen=b, rejected=w) for i, p, b, w in rows)
    shown = tuple(Demonstration(prompt_id=i, prompt=p, completion=b) for i, p, b, _ in rows)
    prompts = tuple(Prompt(prompt_id=i, tokens=p) for i, p, _, _ in rows)
    audit = audit_of(
        pairs=pairs,
        demonstrations=shown,
        sources=(),
        max_length=LENGTH + task.length,
        over_long="drop",
        eos_id=EOS,
    )
    by_split = {split: prompts if split == "train" else () for split in SPLITS}
    return Dataset(pairs=pairs, demonstrations=shown, prompts=by_split, audit=audit)


def ours(task: Task, clock: Clock) -> None:
    """The stage through the loop."""
    import torch

    from allroads.judges import CallableLabeller
    from allroads.models.lora import Lora, add_adapter
    from allroads.models.policy import load_policy
    from allroads.models.reward_model import reward_model_on
    from allroads.roads import loop
    from allroads.roads.supplies import Supplies

    stage, dataset = stage_of(task), dataset_of(task)
    load = partial(
        load_policy, task.folder, eos_id=EOS, dtype=torch.float32, device=torch.device("cpu")
    )
    base = load()
    adapter = Lora() if task.adapter else None
    if adapter is not None:
        base.model.requires_grad_(requires_grad=False)
    needs_reference = stage.objective.reference is not None
    if task.work == "reward":
        trainee: Any = reward_model_on(base, reading="last", seed=0, adapter=adapter)
    elif adapter is not None:
        trainee = base.twin()
        add_adapter(trainee.model, adapter, seed=0)
    else:
        trainee = base
    # An adapter's frozen base is there anyway; otherwise the loop opens one when it needs it.
    reference = load if adapter is None else lambda: base
    supplies = Supplies(
        dataset=dataset,
        seed=0,
        address="benchmark",
        reference=reference if needs_reference else None,
        writer=None,
        labeller=CallableLabeller(lambda _, completions: reward(list(completions))),
        temperature=1.0,
        max_new_tokens=task.length,
        token_budget=task.token_budget,
        sample_batch=task.sample_batch,
        fixed_length=True,
    )
    if adapter is None:
        del base
    if not stage.source.sampled:
        loop.gather = clock.timing(loop.gather)
    with tempfile.TemporaryDirectory() as folder:
        keeping = loop.Keeping(Path(folder), snapshots=0, checkpoint_seconds=1e9)
        loop.train(stage, trainee, supplies, keeping, clock.tick)
