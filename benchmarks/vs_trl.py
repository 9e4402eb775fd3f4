"""Speed and memory of our roads beside TRL's trainers: same model, data, batch, dtype, threads.

    python benchmarks/vs_trl.py [--model A|B|FOLDER] [--works sft,dpo] [--repeats 3] [--steps 20]

A is a GPT-NeoX of 4 x 128 with a vocabulary of 1,024, 32 pairs (or 32 completions; online DPO: 32
prompts) a step; B is 12 x 512 with 50,304 and 8. A FOLDER is a pretrained model, trained with an
adapter, 8 a step. Weights of A and B and all texts are random: prompts of 32 tokens, completions
of 32. Single precision on the CPU; rewards come from the same cheap function of the tokens.

Both sides train for two steps that are not timed and `--steps` that are; the one pass of the
reference over the data (DPO, KTO) is shared out over all of them, as in one epoch. Every figure
comes from a process of its own, ours and TRL's in turn. FLOPs are what torch counts of matrix
products and attention, in processes of their own. A ratio is TRL's over ours: of seconds, of FLOPs,
and of the two (how much faster we do the same arithmetic). TRL has to be installed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

WORKS = ("sft", "reward", "dpo", "kto", "online-dpo", "rloo", "grpo")
UNITS = {"reward": "pairs", "dpo": "pairs", "kto": "pairs"}
SIZES: dict[str, dict[str, int]] = {
    "A": {"layers": 4, "width": 128, "heads": 4, "vocabulary": 1024, "batch": 32},
    "B": {"layers": 12, "width": 512, "heads": 8, "vocabulary": 50304, "batch": 8},
}
LENGTH = 32
"""Tokens of a prompt, and of a completion with its end."""
GROUP = 4
"""Completions a prompt, of RLOO and GRPO."""
SKIP = 2
"""Steps before the clock counts."""
BETA, RATE = 0.1, 1e-5
EOS, PAD = 0, 1


@dataclass(frozen=True)
class Task:
    """One measurement; `count` is of FLOPs instead of time."""

    side: str
    work: str
    folder: str
    vocabulary: int
    batch: int
    adapter: bool
    steps: int
    count: bool = False

    @property
    def prompts(self) -> int:
        """Of one step."""
        return self.batch // GROUP if self.work in ("rloo", "grpo") else self.batch

    @property
    def completions(self) -> int:
        """Of one step."""
        return self.batch * (1 if self.work in ("sft", "rloo", "grpo") else 2)

    @property
    def done(self) -> int:
        """What a step handles, in the unit of the table."""
        return self.batch if self.work in UNITS else self.completions

    def texts(self) -> list[tuple[list[int], list[int], list[int]]]:
        """(prompt, better, worse) for every step."""
        rng = random.Random(0)

        def draw(count: int) -> list[int]:
            return [rng.randrange(PAD + 1, self.vocabulary) for _ in range(count)]

        return [
            (draw(LENGTH), [*draw(LENGTH - 1), EOS], [*draw(LENGTH - 1), EOS])
            for _ in range(self.prompts * self.steps)
        ]


class Clock:
    """Wall and processor time at the end of every step, and of what is done once for all."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []
        self.once = (0.0, 0.0)

    def tick(self, *_: object) -> None:
        """A step is over."""
        self.ends.append(_now())

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is shared out over the steps."""

        def timed(*args: Any, **options: Any) -> Any:
            since = _now()
            out = function(*args, **options)
            wall, cpu = _now()
            self.once = (self.once[0] + wall - since[0], self.once[1] + cpu - since[1])
            return out

        return timed

    def seconds(self) -> dict[str, float]:
        """Of one step, wall and processor; `once` is the share that was spent before."""
        first, last, count = self.ends[SKIP - 1], self.ends[-1], len(self.ends)
        step, cpu = ((b - a) / (count - SKIP) for a, b in zip(first, last, strict=True))
        wall, once_cpu = (value / count for value in self.once)
        return {"seconds": step + wall, "cpu": cpu + once_cpu, "once": wall}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def reward(completions: list[Any]) -> list[float]:
    """The mean token id."""
    return [sum(ids) / len(ids) for ids in completions]


# Ours --------------------------------------------------------------------------------------------


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
        max_length=2 * LENGTH,
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
    base = load_policy(task.folder, eos_id=EOS, dtype=torch.float32, device=torch.device("cpu"))
    adapter = Lora() if task.adapter else None
    if adapter is not None:
        base.model.requires_grad_(requires_grad=False)
    needs_reference = stage.objective.reference is not None
    if task.work == "reward":
        trainee: Any = reward_model_on(base, reading="last", seed=0, adapter=adapter)
    elif adapter is not None or needs_reference:
        trainee = base.twin()
        if adapter is not None:
            add_adapter(trainee.model, adapter, seed=0)
    else:
        trainee = base
    supplies = Supplies(
        dataset=dataset,
        seed=0,
        address="benchmark",
        reference=base if needs_reference else None,
        writer=None,
        labeller=CallableLabeller(lambda _, completions: reward(list(completions))),
        temperature=1.0,
        max_new_tokens=LENGTH,
        token_budget=4096,
        sample_batch=256,
        fixed_length=True,
    )
    if not needs_reference and adapter is None:
        del base
    if not stage.source.sampled:
        loop.gather = clock.timing(loop.gather)
    with tempfile.TemporaryDirectory() as folder:
        keeping = loop.Keeping(Path(folder), snapshots=0, checkpoint_seconds=1e9)
        loop.train(stage, trainee, supplies, keeping, clock.tick)


# TRL's -------------------------------------------------------------------------------------------

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
    import importlib

    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    room, module, name = TRAINERS[task.work]
    trainer = getattr(importlib.import_module(f"{room}.{module}_trainer"), f"{name}Trainer")
    config = getattr(importlib.import_module(f"{room}.{module}_config"), f"{name}Config")
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


# Measuring ---------------------------------------------------------------------------------------


def measure(task: Task, queue: Any) -> None:
    """In a process of its own: seconds and peak of a step, or its FLOPs."""
    import torch

    torch.manual_seed(0)
    clock = Clock()
    run = ours if task.side == "ours" else theirs
    try:
        if task.count:
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                run(task, clock)
            found = {"flops": counter.get_total_flops() / task.steps}
        else:
            run(task, clock)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found = {**clock.seconds(), "peak": peak}
        queue.put(json.dumps(found))
    except Exception:
        queue.put(json.dumps({"error": traceback.format_exc()}))


def prepare(name: str, folder: str, queue: Any) -> None:
    """A folder with the model and a tokenizer of whole words; its vocabulary goes into `queue`."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedTokenizerFast

    if name in SIZES:
        size = SIZES[name]
        config: Any = GPTNeoXConfig(
            vocab_size=size["vocabulary"],
            hidden_size=size["width"],
            num_hidden_layers=size["layers"],
            num_attention_heads=size["heads"],
            intermediate_size=4 * size["width"],
            max_position_embeddings=128,
            bos_token_id=None,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    else:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        model.config.eos_token_id = model.generation_config.eos_token_id = EOS
        model.config.pad_token_id = model.generation_config.pad_token_id = PAD
        config = model.config
    model.save_pretrained(folder)
    words = {"<eos>": EOS, "<pad>": PAD}
    words |= {f"w{i}": i for i in range(PAD + 1, config.vocab_size)}
    inner = Tokenizer(WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(Path(folder) / "words")
    queue.put(config.vocab_size)


def alone(function: Callable[..., None], *args: Any) -> Any:
    """What the function puts into its queue, from a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    process = context.Process(target=function, args=(*args, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


def taken(task: Task) -> dict[str, float]:
    """One measurement.

    Raises:
        RuntimeError: with what went wrong in its process.
    """
    found = json.loads(alone(measure, task))
    if "error" in found:
        raise RuntimeError(f"{task.side} {task.work}:\n{found['error']}")
    return found


# The table ---------------------------------------------------------------------------------------

HEADER = (
    "| work | unit | ours | TRL | times as fast | processor | peak MB ours | TRL | GFLOP a step "
    "ours | TRL | FLOP ratio | efficiency ratio |\n|" + "---|" * 12
)


def compared(asked: argparse.Namespace, work: str, folder: str, vocabulary: int) -> dict[str, Any]:
    """All repeats of one kind of work, ours and TRL's in turn."""
    batch = SIZES[asked.model]["batch"] if asked.model in SIZES else 8
    make = partial(
        Task,
        work=work,
        folder=folder,
        vocabulary=vocabulary,
        batch=batch,
        adapter=asked.model not in SIZES,
    )
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
    for repeat in range(asked.repeats):
        for side in ("ours", "trl") if repeat % 2 == 0 else ("trl", "ours"):
            runs[side].append(taken(make(side=side, steps=asked.steps + SKIP)))
    flops = {side: taken(make(side=side, steps=SKIP + 1, count=True))["flops"] for side in runs}
    done = make(side="ours", steps=1).done
    return {"work": work, "unit": UNITS.get(work, "completions"), "done": done} | {
        "runs": runs,
        "flops": flops,
    }


def line(found: dict[str, Any]) -> str:
    """A row of the table: medians, and the range of the ratio over the repeats."""
    runs, flops = found["runs"], found["flops"]

    def median(side: str, name: str) -> float:
        return statistics.median(run[name] for run in runs[side])

    def ratios(name: str) -> list[float]:
        return [b[name] / a[name] for a, b in zip(runs["ours"], runs["trl"], strict=True)]

    wall = ratios("seconds")
    faster, fewer = statistics.median(wall), flops["trl"] / flops["ours"]
    cells = [
        found["work"],
        f"{found['unit']}/s",
        *(f"{found['done'] / median(side, 'seconds'):.1f}" for side in runs),
        f"{faster:.2f} ({min(wall):.2f} to {max(wall):.2f})",
        f"{statistics.median(ratios('cpu')):.2f}",
        *(f"{median(side, 'peak'):.0f}" for side in runs),
        *(f"{flops[side] / 1e9:.1f}" for side in runs),
        f"{fewer:.2f}",
        f"{faster / fewer:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="A", help="A, B or a folder")
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="timed, after two that are not")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="every run, for other tables")
    asked = parser.parse_args()
    works = asked.works.split(",")
    if unknown := set(works) - set(WORKS):
        parser.error(f"--works {','.join(sorted(unknown))}: expected some of {', '.join(WORKS)}")
    # Before torch is imported, which is in the processes to come.
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    os.environ["PYTHONWARNINGS"] = "ignore"
    everything = []
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = alone(prepare, asked.model, folder)
        for work in works:
            everything.append(compared(asked, work, folder, vocabulary))
            print(line(everything[-1]), flush=True)
            if asked.json:
                asked.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
