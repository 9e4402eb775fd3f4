"""Training and sampling of a pretrained model, beside a plain loop on the same model.

    python benchmarks/real_model.py --model path/to/model [--dtype bfloat16] [--threads 2]

For all weights and for an adapter: seconds per pair and tokens per second of SFT, reward model and
DPO steps through `allroads`, of a DPO step written plainly on the Hugging Face model, of sampling
through `allroads` and through `generate`, and the peak memory of each. Every figure comes from a
process of its own, so that peaks do not mix; the pairs are random tokens (half prompt, half
completion), because time does not depend on which.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

WAYS = ("all weights", "adapter")
WORK = ("sft", "reward model", "dpo", "plain dpo", "sample", "generate")
BETA = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--pairs", type=int, default=1, help="pairs of one step")
    parser.add_argument("--steps", type=int, default=2, help="timed after one that is not")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--only", default=",".join(WORK))
    asked = parser.parse_args()
    for work in asked.only.split(","):
        if work not in WORK:
            parser.error(f"--only {work!r}: expected some of {', '.join(WORK)}")
    print(f"{asked.model}, {asked.dtype}, {asked.threads} threads, rows of {asked.length} tokens")
    print(f"{'work':<22}{'weights':<14}{'s per pair':>11}{'tokens/s':>10}{'peak MB':>9}")
    context = multiprocessing.get_context("spawn")
    for work in asked.only.split(","):
        for way in WAYS:
            if work == "generate" and way == "adapter":
                continue
            queue: Any = context.Queue()
            process = context.Process(target=_measure, args=(vars(asked), work, way, queue))
            process.start()
            process.join()
            if process.exitcode:
                print(f"{work:<22}{way:<14}  died with code {process.exitcode}")
                continue
            found = json.loads(queue.get())
            pair = f"{found['pair']:.2f}" if found["pair"] else ""
            print(
                f"{work:<22}{way:<14}{pair:>11}{found['rate']:>10.1f}{found['peak']:>9.0f}",
                flush=True,
            )


def _measure(asked: dict[str, Any], work: str, way: str, queue: Any) -> None:
    import torch

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    step, tokens, pairs = _prepare(asked, work, way)
    step()
    since = time.perf_counter()
    for _ in range(asked["steps"]):
        step()
    seconds = (time.perf_counter() - since) / asked["steps"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pair = seconds / pairs if pairs else None
    queue.put(json.dumps({"pair": pair, "rate": tokens / seconds, "peak": peak}))


def _prepare(
    asked: dict[str, Any], work: str, way: str
) -> tuple[Callable[[], object], int, int | None]:
    """A step, the tokens that it handles, and its pairs."""
    import torch

    from allroads.models.gguf import dequantised, is_gguf
    from allroads.models.lora import Lora, add_adapter
    from allroads.models.policy import load_policy
    from allroads.models.reward_model import reward_model_on
    from allroads.rollouts.sampler import sample
    from allroads.types import Prompt

    folder = dequantised(asked["model"]) if is_gguf(asked["model"]) else asked["model"]
    dtype = getattr(torch, asked["dtype"])
    base = load_policy(folder, eos_id=-1, dtype=dtype, device=torch.device("cpu"))
    adapter = Lora(rank=asked["rank"], alpha=2.0 * asked["rank"]) if way == "adapter" else None
    if adapter is not None:
        base.model.requires_grad_(requires_grad=False)
    half, vocabulary = asked["length"] // 2, base.model.config.get_text_config().vocab_size

    def draw(count: int) -> list[tuple[int, ...]]:
        return [tuple(row) for row in torch.randint(5, vocabulary, (count, half)).tolist()]

    prompts = draw(asked["pairs"])
    if work in ("sample", "generate"):
        prompts = draw(8)
        new = 32
        if work == "sample":
            trained = base.twin()
            if adapter is not None:
                add_adapter(trained.model, adapter, seed=0)
            given = [Prompt(prompt_id=str(i), tokens=p) for i, p in enumerate(prompts)]

            def write() -> object:
                return sample(
                    trained, given, per_prompt=1, temperature=1.0, max_new_tokens=new, seed=(0, "b")
                )
        else:
            ids = torch.tensor(prompts)

            def write() -> object:
                with torch.no_grad():
                    return base.model.generate(  # type: ignore[operator]
                        ids,
                        attention_mask=torch.ones_like(ids),
                        max_new_tokens=new,
                        min_new_tokens=new,
                        do_sample=True,
                    )

        return write, len(prompts) * new, None
    rows = [(prompt, draw(2)) for prompt in prompts]
    tokens = asked["pairs"] * 2 * asked["length"]
    if work == "plain dpo":
        return _plain_dpo(base, adapter, rows), tokens, asked["pairs"]
    reading = "last"
    model = (
        reward_model_on(base, reading=reading, seed=0, adapter=adapter)
        if work == "reward model"
        else base.twin()
    )
    if adapter is not None and work != "reward model":
        add_adapter(model.model, adapter, seed=0)
    if work == "sft":
        tokens //= 2
    return _stage_step(work, model, base, rows), tokens, asked["pairs"]


def _stage_step(work: str, model: Any, base: Any, rows: Any) -> Callable[[], object]:
    """One optimiser step as the loop takes it, the reference's forward pass included."""
    import torch

    from allroads.models.states import Rows
    from allroads.objectives import bradley_terry_nll, implicit_reward
    from allroads.roads.optimiser import Optimiser
    from allroads.roads.stage import Schedule

    optimiser = Optimiser(model.model, Schedule(learning_rate=1e-6))
    both = Rows([p for p, _ in rows for _ in (0, 1)], [c for _, pair in rows for c in pair])
    single = Rows([p for p, _ in rows], [pair[0] for _, pair in rows])

    def step() -> None:
        if work == "sft":
            loss = -model.sequence_logprobs(single).mean()
        elif work == "reward model":
            score = model.scores(both).view(-1, 2)
            loss = bradley_terry_nll(score[:, 0], score[:, 1]).mean()
        else:
            with torch.no_grad():
                reference = base.sequence_logprobs(both)
            score = implicit_reward(model.sequence_logprobs(both), reference, beta=BETA).view(-1, 2)
            loss = bradley_terry_nll(score[:, 0], score[:, 1]).mean()
        loss.backward()
        optimiser.collect()
        optimiser.clip()
        optimiser.step(1e-6)

    return step


def _plain_dpo(base: Any, adapter: Any, rows: Any) -> Callable[[], object]:
    """DPO as one writes it first: full logits of whole rows, log softmax, gather, sum."""
    import torch

    model = base.model
    if adapter is not None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=adapter.rank, lora_alpha=int(adapter.alpha), target_modules="all-linear"
        )
        model = get_peft_model(model, config)
        reference_of = model.disable_adapter
    else:
        import contextlib
        import copy

        frozen = copy.deepcopy(model)
        reference_of = contextlib.nullcontext
    ids = torch.tensor([[*p, *c] for p, pair in rows for c in pair])
    start = len(rows[0][0])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-6)

    def logprob(network: Any) -> Any:
        logits = network(ids, use_cache=False).logits[:, start - 1 : -1].float()
        return logits.log_softmax(-1).gather(2, ids[:, start:, None])[..., 0].sum(1)

    def step() -> None:
        with torch.no_grad(), reference_of():
            reference = logprob(model if adapter is not None else frozen)
        margin = BETA * (logprob(model) - reference).view(-1, 2)
        loss = -torch.nn.functional.logsigmoid(margin[:, 0] - margin[:, 1]).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
