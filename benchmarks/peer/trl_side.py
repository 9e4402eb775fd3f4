"""TRL's side: its own trainers, with the flags that make them do the same work fastest."""

from __future__ import annotations

import contextlib
import importlib
import io
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from peer.task import BETA, EOS, GROUP, LENGTH, RATE, Clock, Task, reward

TRAINERS = {
    "sft": ("trl.trainer", "sft", "SFT"),
    "reward": ("trl.trainer", "reward", "Reward"),
    "dpo": ("trl.trainer", "dpo", "DPO"),
    "kto": ("trl.trainer", "kto", "KTO"),
    "online-dpo": ("trl.experimental.online_dpo", "online_dpo", "OnlineDPO"),
    "rloo": ("trl.trainer", "rloo", "RLOO"),
    "grpo": ("trl.trainer", "grpo", "GRPO"),
}
_REFERENCE_ONCE = {"beta": BETA, "precompute_ref_log_probs": True}
_GROUPS = {"beta": BETA, "num_generations": GROUP, "max_completion_length": LENGTH}
FLAGS: dict[str, dict[str, Any]] = {
    "dpo": _REFERENCE_ONCE,
    "kto": _REFERENCE_ONCE,
    "online-dpo": {"beta": BETA, "max_new_tokens": LENGTH, "temperature": 1.0},
    "rloo": _GROUPS,
    "grpo": {**_GROUPS, "loss_type": "grpo", "use_bias_correction_kl": False},
}
PLAIN = {
    **{"learning_rate": RATE, "bf16": False, "gradient_checkpointing": False, "use_cpu": True},
    **{"report_to": "none", "logging_strategy": "no", "save_strategy": "no", "disable_tqdm": True},
    **{"dataloader_pin_memory": False, "seed": 0},
}


def module_of(work: str, what: str) -> str:
    """Where TRL keeps the trainer, or its config."""
    room, name, _ = TRAINERS[work]
    return f"{room}.{name}_{what}"


def rows_of(task: Task) -> Any:
    """The same tokens as texts, for the tokenizer of whole words; TRL adds the end itself."""
    from datasets import Dataset

    def text(ids: list[int]) -> str:
        return " ".join(f"w{i}" for i in ids if i != EOS)

    rows = [(text(p), f" {text(b)}", f" {text(w)}") for p, b, w in task.texts()]
    prompt, better, worse = map(list, zip(*rows, strict=True))
    if task.work == "sft":
        return Dataset.from_dict({"prompt": prompt, "completion": better})
    if task.work in ("reward", "dpo"):
        return Dataset.from_dict({"prompt": prompt, "chosen": better, "rejected": worse})
    if task.work == "kto":
        mixed = [(p, c, c is b) for p, b, w in rows for c in (b, w)]
        columns = zip(("prompt", "completion", "label"), zip(*mixed, strict=True), strict=True)
        return Dataset.from_dict({name: list(values) for name, values in columns})
    return Dataset.from_dict({"prompt": prompt})


def trainer_of(task: Task, folder: str, clock: Clock) -> Any:
    """TRL's trainer; what it does to the texts before training is not timed."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    name = TRAINERS[task.work][2]
    trainer = getattr(importlib.import_module(module_of(task.work, "trainer")), f"{name}Trainer")
    config = getattr(importlib.import_module(module_of(task.work, "config")), f"{name}Config")
    if task.work in ("dpo", "kto"):
        trainer._precompute_ref_logps = clock.timing(trainer._precompute_ref_logps)
    model: Any = partial(AutoModelForCausalLM.from_pretrained, task.folder, dtype=torch.float32)
    if task.work == "reward":
        read = AutoModelForSequenceClassification.from_pretrained
        model = partial(read, task.folder, num_labels=1, dtype=torch.float32)
    # DPO counts pairs; KTO and the roads of groups count completions.
    size = task.completions if task.work in ("kto", "rloo", "grpo") else task.batch
    more: dict[str, Any] = {}
    if task.work in ("online-dpo", "rloo", "grpo"):
        more["reward_funcs"] = lambda completion_ids, **_: reward(completion_ids)
    if task.adapter:
        from peft import LoraConfig

        kind = "SEQ_CLS" if task.work == "reward" else "CAUSAL_LM"
        more["peft_config"] = LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type=kind
        )
    tokenizer = AutoTokenizer.from_pretrained(Path(task.folder) / "words")
    return trainer(
        model=model(),
        args=config(
            output_dir=folder,
            max_steps=task.steps,
            per_device_train_batch_size=size,
            **PLAIN,
            **FLAGS.get(task.work, {}),
        ),
        processing_class=tokenizer,
        train_dataset=rows_of(task),
        **more,
    )


def theirs(task: Task, clock: Clock) -> None:
    """The same through TRL."""
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(task, folder, clock)
        trainer.add_callback(Ticks())
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.train()
