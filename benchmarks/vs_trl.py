"""Speed and memory of our roads beside TRL's trainers: same model, data, batch, dtype, threads.

    python benchmarks/vs_trl.py [--model A|B|FOLDER] [--works sft,dpo] [--repeats 3] [--steps 20]

A is a GPT-NeoX of 4 x 128 with a vocabulary of 1,024, 32 pairs (or 32 completions; online DPO: 32
prompts) a step; B is 12 x 512 with 50,304 and 8. A FOLDER is a pretrained model, trained with an
adapter, 8 a step. Weights of A and B and all texts are random: prompts of 32 tokens, completions
of 32. Single precision on the CPU; rewards come from the same cheap function of the tokens.

Both sides train for two steps that are not timed and `--steps` that are; the one pass of the
reference over the data (DPO, KTO) is shared out over all of them, as in one epoch. Every figure
comes from a process of its own, ours and TRL's in turn. FLOPs are what torch counts, in another
run, of all matrix products but those inside attention, which it cannot see on a CPU. A ratio is
TRL's over ours: of seconds, of FLOPs, and of the two (how much faster we do the same arithmetic).
TRL has to be installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from peer.ours import ours
from peer.task import EOS, PAD, SKIP, UNITS, Clock, Task
from peer.trl_side import module_of, theirs

WORKS = ("sft", "reward", "dpo", "kto", "online-dpo", "rloo", "grpo")
SIZES: dict[str, dict[str, int]] = {
    "A": {"layers": 4, "width": 128, "heads": 4, "vocabulary": 1024, "batch": 32},
    "B": {"layers": 12, "width": 512, "heads": 8, "vocabulary": 50304, "batch": 8},
}


# Measuring ---------------------------------------------------------------------------------------


def measure(task: Task, queue: Any) -> None:
    """In a process of its own: seconds of a step, the peak (`idle`: before any model), FLOPs."""
    import torch

    torch.manual_seed(0)
    run = ours if task.side == "ours" else theirs
    try:
        idle, clock = peak(), Clock()
        run(task, clock)
        found = {**clock.seconds(), "idle": idle, "peak": peak()}
        if task.count:
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                run(replace(task, steps=1), Clock())
            found["flops"] = dense(counter)
        queue.put(json.dumps(found))
    except Exception:
        queue.put(json.dumps({"error": traceback.format_exc()}))


def dense(counter: Any) -> int:
    """FLOPs of all counted products but batched ones, which are attention's."""
    counts = counter.get_flop_counts()["Global"].items()
    return sum(count for operation, count in counts if "bmm" not in str(operation))


def serve(modules: list[str], measure: Callable[..., None], tasks: Any, found: Any) -> None:
    """Imports what one side needs, once, and forks for every measurement until there is none."""
    for name in modules:
        importlib.import_module(name)
    context = multiprocessing.get_context("fork")
    while (task := tasks.get()) is not None:
        process = context.Process(target=measure, args=(task, found))
        process.start()
        process.join()
        if process.exitcode:
            found.put(json.dumps({"error": f"died with code {process.exitcode}"}))


class Side:
    """A process that has imported ours or TRL's, whose children measure."""

    def __init__(self, modules: list[str], measure: Callable[..., None] = measure) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks: Any = context.Queue()
        self._found: Any = context.Queue()
        context.Process(target=serve, args=(modules, measure, self._tasks, self._found)).start()

    def measured(self, task: Any) -> dict[str, Any]:
        """One measurement.

        Raises:
            RuntimeError: with what went wrong in its process.
        """
        self._tasks.put(task)
        found = json.loads(self._found.get())
        if "error" in found:
            raise RuntimeError(f"{task}:\n{found['error']}")
        return found

    def close(self) -> None:
        """No more measurements."""
        self._tasks.put(None)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def model_of(size: dict[str, int], positions: int = 128) -> Any:
    """A GPT-NeoX with random weights."""
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        GPTNeoXConfig(
            vocab_size=size["vocabulary"],
            hidden_size=size["width"],
            num_hidden_layers=size["layers"],
            num_attention_heads=size["heads"],
            intermediate_size=4 * size["width"],
            max_position_embeddings=positions,
            bos_token_id=None,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    )


def words_of(vocabulary: int) -> Any:
    """A tokenizer of whole words w2, w3, ..."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {"<eos>": EOS, "<pad>": PAD}
    words |= {f"w{i}": i for i in range(PAD + 1, vocabulary)}
    inner = Tokenizer(WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


def prepare(name: str, folder: str, queue: Any) -> None:
    """A folder with the model and a tokenizer of whole words; its vocabulary goes into `queue`."""
    import torch
    from transformers import AutoModelForCausalLM

    if name in SIZES:
        model = model_of(SIZES[name])
    else:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        model.config.eos_token_id = model.generation_config.eos_token_id = EOS
        model.config.pad_token_id = model.generation_config.pad_token_id = PAD
    model.save_pretrained(folder)
    words_of(model.config.vocab_size).save_pretrained(Path(folder) / "words")
    queue.put(model.config.vocab_size)


def alone(function: Callable[..., None], *args: Any) -> Any:
    """What the function puts into its queue, from a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    process = context.Process(target=function, args=(*args, queue))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a process died with code {process.exitcode}")
    return queue.get()


def settle(threads: int) -> None:
    """The environment of the processes to come, which import torch."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    os.environ["PYTHONWARNINGS"] = "ignore"


# The table ---------------------------------------------------------------------------------------

HEADER = (
    "| work | unit | ours | TRL | times as fast | processor | peak MB ours | TRL | GFLOP a step "
    "ours | TRL | FLOP ratio | efficiency ratio |\n|" + "---|" * 12
)


def compared(
    asked: argparse.Namespace, work: str, folder: str, vocabulary: int, sides: dict[str, Side]
) -> dict[str, Any]:
    """All repeats of one kind of work, ours and TRL's in turn."""
    batch = SIZES[asked.model]["batch"] if asked.model in SIZES else 8
    # Four pieces a step of model B hold a quarter of the activations, and are slower by some 4 %.
    budget = 256 if asked.model == "B" else 4096
    make = partial(
        Task,
        work=work,
        folder=folder,
        vocabulary=vocabulary,
        batch=batch,
        adapter=asked.model not in SIZES,
        token_budget=budget,
    )
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
    for repeat in range(asked.repeats):
        for side in ("ours", "trl") if repeat % 2 == 0 else ("trl", "ours"):
            task = make(side=side, steps=asked.steps + SKIP, count=repeat == 0)
            runs[side].append(sides[side].measured(task))
    done = make(side="ours", steps=1).done
    return {"work": work, "unit": UNITS.get(work, "completions"), "done": done, "runs": runs}


def line(found: dict[str, Any]) -> str:
    """A row of the table: medians, and the range of the ratio over the repeats."""
    runs = found["runs"]
    flops = {side: of_side[0]["flops"] for side, of_side in runs.items()}

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
    settle(asked.threads)
    everything = []
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = alone(prepare, asked.model, folder)
        sides = {
            "ours": Side(["allroads.roads.loop"]),
            "trl": Side([module_of(work, "trainer") for work in works]),
        }
        try:
            for work in works:
                everything.append(compared(asked, work, folder, vocabulary, sides))
                print(line(everything[-1]), flush=True)
                if asked.json:
                    text = json.dumps(everything, indent=1) + "\n"
                    asked.json.write_text(text, encoding="utf-8")
        finally:
            for side in sides.values():
                side.close()


if __name__ == "__main__":
    main()
