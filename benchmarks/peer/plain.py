"""The demo's comparison as one script over the plain Hugging Face model: our runner's opponent.

What a competent researcher writes in a day: rows padded in full, the logits of all positions, fused
AdamW, the reference's log-probabilities computed once for all settings of DPO, `model.generate`
with its cache. The same data sizes, batches, steps, settings and evaluation as `allroads compare
--world routes`; its own random numbers.

    python -m peer.plain CONFIG.json OUT.json
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from allroads import stats
from allroads.data.worlds import make_world
from allroads.lab.config import CompareConfig, build_config
from allroads.lab.defaults import DEFAULTS
from allroads.models.builtin import small_transformer
from allroads.roads.stage import Schedule

Rows = tuple[Tensor, Tensor, Tensor]
"""(B, L) ids, padded on the right; (B,) lengths of the prompts; (B,) lengths of the rows."""
AT_ONCE = 1024
"""Rows of a forward pass without gradients, and of `generate`."""


# Rows ---------------------------------------------------------------------------------------------


def rows_of(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> Rows:
    """Padded once, for all epochs."""
    full = [[*p, *c] for p, c in zip(prompts, completions, strict=True)]
    longest = max(map(len, full))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in full])
    return ids, torch.tensor([len(p) for p in prompts]), torch.tensor([len(row) for row in full])


def take(rows: Rows, index: Tensor) -> Rows:
    """Some rows, without the columns that only others fill."""
    ids, starts, ends = (part[index] for part in rows)
    return ids[:, : int(ends.max())], starts, ends


def both(chosen: Rows, rejected: Rows, index: Tensor) -> Rows:
    """The chosen rows, then the rejected ones."""
    a, b = take(chosen, index), take(rejected, index)
    width = max(a[0].shape[1], b[0].shape[1])
    ids = [F.pad(one[0], (0, width - one[0].shape[1])) for one in (a, b)]
    return torch.cat(ids), torch.cat([a[1], b[1]]), torch.cat([a[2], b[2]])


def answer_mask(rows: Rows) -> Tensor:
    """(B, L) true on completion tokens."""
    place = torch.arange(rows[0].shape[1])
    return (place >= rows[1][:, None]) & (place < rows[2][:, None])


# Models and losses --------------------------------------------------------------------------------


def token_logprobs(model: nn.Module, rows: Rows) -> Tensor:
    """(B, L - 1) log-probability of each completion token, 0 elsewhere."""
    # Right padding needs no mask under causal attention; without one it runs the faster kernel.
    logits = model(input_ids=rows[0], use_cache=False).logits[:, :-1]
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    picked = logprobs.gather(2, rows[0][:, 1:, None])[..., 0]
    return picked * answer_mask(rows)[:, 1:]


def logprobs(model: nn.Module, rows: Rows) -> Tensor:
    """(B,) log-probability of each completion."""
    return token_logprobs(model, rows).sum(dim=1)


class Reward(nn.Module):
    """The policy's backbone, and one number a completion token, summed."""

    def __init__(self, policy: GPT2LMHeadModel) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(policy.transformer)
        width = policy.config.n_embd
        self.head = nn.Linear(width, 1, bias=False)
        nn.init.normal_(self.head.weight, std=1 / math.sqrt(width + 1))

    def forward(self, rows: Rows) -> Tensor:
        """(B,) rewards."""
        states = self.backbone(input_ids=rows[0], use_cache=False).last_hidden_state
        return (self.head(states)[..., 0] * answer_mask(rows)).sum(dim=1)


def sft_loss(model: nn.Module, rows: Rows) -> Tensor:
    """Cross-entropy over all completion tokens of the batch."""
    return -token_logprobs(model, rows).sum() / answer_mask(rows).sum()


def reward_loss(model: nn.Module, rows: Rows) -> Tensor:
    """Bradley-Terry; the chosen rows come first."""
    chosen, rejected = model(rows).chunk(2)
    return -F.logsigmoid(chosen - rejected).mean()


def dpo_loss(model: nn.Module, rows: Rows, reference: Tensor, beta: float) -> Tensor:
    """DPO; the chosen rows come first, and so do their reference's log-probabilities."""
    chosen, rejected = (beta * (logprobs(model, rows) - reference)).chunk(2)
    return -F.logsigmoid(chosen - rejected).mean()


def rloo_loss(
    model: nn.Module, rows: Rows, reward: Tensor, reference: Tensor, beta: float, group: int
) -> Tensor:
    """REINFORCE against the mean of the others of the group, the KL inside the reward."""
    own = logprobs(model, rows)
    total = (reward - beta * (own.detach() - reference)).view(-1, group)
    advantage = (total - total.mean(dim=1, keepdim=True)) * group / (group - 1)
    return -(advantage * own.view(-1, group)).mean()


@torch.no_grad()
def in_batches(function: Callable[[Rows], Tensor], rows: Rows) -> Tensor:
    """(B,) values of many rows."""
    parts = torch.arange(len(rows[0])).split(AT_ONCE)
    return torch.cat([function(take(rows, part)) for part in parts])


# Training -----------------------------------------------------------------------------------------


class Training:
    """AdamW, a warm-up and a cosine, and the gradient clipped."""

    def __init__(self, model: nn.Module, schedule: Schedule, steps: int) -> None:
        self.model, self.steps, self.schedule = model, steps, schedule
        self.adam = torch.optim.AdamW(
            model.parameters(),
            lr=schedule.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        warm = math.ceil(schedule.warmup * steps)

        def shape(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 - math.cos(math.pi * (steps - step) / max(1, steps - warm)))

        self.rate = torch.optim.lr_scheduler.LambdaLR(self.adam, shape)

    def step(self, loss: Tensor) -> None:
        """One update."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.gradient_clip)
        self.adam.step()
        self.rate.step()
        self.adam.zero_grad(set_to_none=True)


def minibatches(count: int, schedule: Schedule) -> Iterator[Tensor]:
    """Shuffled epochs."""
    for _ in range(schedule.epochs):
        yield from torch.randperm(count).split(schedule.batch_size)


def moments(steps: int, count: int) -> set[int]:
    """After which steps the policy is kept for evaluation."""
    return {math.ceil(steps * i / count) for i in range(1, count + 1)}


# The comparison -----------------------------------------------------------------------------------


class Script:
    """One seed of the comparison, from first weights to evaluations."""

    def __init__(self, config: CompareConfig, seed: int, clock: Clock) -> None:
        torch.manual_seed(seed)
        self.config, self.seed, self.clock = config, seed, clock
        self.world: Any = make_world("routes")
        recipe = DEFAULTS["routes"].recipe
        assert recipe is not None
        self.recipe = recipe
        self.train = torch.tensor([p.tokens for p in self.world.prompts("train")])
        self.eval = {
            "test": torch.tensor([p.tokens for p in self.world.prompts("test")[:400]]),
            "train": self.train[torch.randperm(len(self.train))[:200]],
            "selection": torch.tensor([p.tokens for p in self.world.prompts("selection")]),
        }

    def run(self) -> int:
        """Every road at every setting; the number of cells."""
        with self.clock("sft"):
            self.start = self.sft()
        with self.clock("pairs"):
            self.pairs = {split: self.prefer(split) for split in ("train", "selection", "test")}
        with self.clock("reward model"):
            self.selector = self.reward_model(*self.pairs["selection"])
            self.judge = self.reward_model(*self.pairs["train"])
        with self.clock("scorer"):
            for model in (self.selector, self.judge):
                self.margins(model)
        with self.clock("evaluation"):
            self.evaluate(self.start, None)
        with self.clock("best-of-n"):
            cells = 1 + self.best_of_n()
        with self.clock("dpo"):
            rows = both(*self.pairs["train"], torch.arange(len(self.pairs["train"][0][0])))
            reference = in_batches(lambda part: logprobs(self.start, part), rows)
        roads = (
            ("dpo", lambda beta: self.dpo(beta, reference)),
            ("online-dpo", self.online_dpo),
            ("rloo", self.rloo),
        )
        for name, road in roads:
            for beta in self.config.betas:
                with self.clock(name):
                    kept = road(beta)
                if name == "dpo":
                    with self.clock("scorer"):
                        self.margins(
                            lambda part, kept=kept, beta=beta: (
                                beta * (logprobs(kept[-1], part) - logprobs(self.start, part))
                            )
                        )
                with self.clock("evaluation"):
                    for policy in kept:
                        self.evaluate(policy, None if name == "dpo" else self.judge)
                cells += 1
        return cells

    def sft(self) -> GPT2LMHeadModel:
        """The start policy."""
        shown = self.world.demonstrations(self.config.sizes.demonstrations, seed=self.seed)
        rows = rows_of([one.prompt for one in shown], [one.completion for one in shown])
        model: Any = small_transformer(
            vocabulary=len(self.world.vocabulary),
            context=self.world.context,
            eos_id=self.world.eos_id,
            seed=self.seed,
        ).model
        schedule = self.recipe.sft
        steps = schedule.epochs * math.ceil(len(shown) / schedule.batch_size)
        training = Training(model, schedule, steps)
        for index in minibatches(len(shown), schedule):
            training.step(sft_loss(model, take(rows, index)))
        return model

    @torch.no_grad()
    def generate(self, model: GPT2LMHeadModel, prompts: Tensor, count: int) -> Rows:
        """`count` completions of each prompt, cut after end-of-sequence."""
        parts = []
        eos = self.world.eos_id
        for some in prompts.split(max(1, AT_ONCE // count)):
            out: Any = model.generate(
                some,
                attention_mask=torch.ones_like(some),
                do_sample=True,
                top_k=0,
                temperature=1.0,
                max_new_tokens=self.world.max_new_tokens,
                num_return_sequences=count,
                pad_token_id=eos,
                eos_token_id=eos,
            )
            parts.append(F.pad(out, (0, self.world.context - out.shape[1]), value=eos))
        ids = torch.cat(parts)
        width = prompts.shape[1]
        ended = ids[:, width:] == eos
        length = torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, ended.shape[1])
        return ids, torch.full((len(ids),), width), length + width

    def finished(self, rows: Rows) -> Tensor:
        """(B,) whether a completion ends with end-of-sequence."""
        return rows[0].gather(1, rows[2][:, None] - 1)[:, 0] == self.world.eos_id

    def truth(self, rows: Rows) -> list[float]:
        """The world's verdict."""
        columns = zip(*(part.tolist() for part in rows), strict=True)
        split = [(tuple(ids[:a]), tuple(ids[a:b])) for ids, a, b in columns]
        return self.world.verify([p for p, _ in split], [c for _, c in split])

    def prefer(self, split: str) -> tuple[Rows, Rows]:
        """Pairs of two samples, ordered by a noisy look at the truth."""
        sizes = self.config.sizes
        count = {"train": sizes.pairs, "selection": sizes.selection_pairs}.get(
            split, sizes.test_pairs
        )
        prompts = torch.tensor([p.tokens for p in self.world.prompts(split)])
        laps = math.ceil(count / len(prompts))
        rows = self.generate(self.start, prompts.repeat(laps, 1)[:count], 2)
        lead = torch.tensor(self.truth(rows)).view(-1, 2)
        odds = self.world.label_temperature * (lead[:, 0] - lead[:, 1])
        first = torch.rand(count) < torch.sigmoid(odds)
        place = 2 * torch.arange(count)
        chosen, rejected = place + ~first, place + first
        differ = (rows[0][chosen] != rows[0][rejected]).any(dim=1)
        return take(rows, chosen[differ]), take(rows, rejected[differ])

    def reward_model(self, chosen: Rows, rejected: Rows) -> Reward:
        """A reward model of pairs."""
        model, schedule = Reward(self.start), self.recipe.reward
        count = len(chosen[0])
        training = Training(
            model, schedule, schedule.epochs * math.ceil(count / schedule.batch_size)
        )
        for index in minibatches(count, schedule):
            training.step(reward_loss(model, both(chosen, rejected, index)))
        return model

    def dpo(self, beta: float, reference: Tensor) -> list[GPT2LMHeadModel]:
        """Offline DPO; the policy at each moment."""
        model, schedule = copy.deepcopy(self.start), self.recipe.policy
        chosen, rejected = self.pairs["train"]
        count = len(chosen[0])
        steps = schedule.epochs * math.ceil(count / schedule.batch_size)
        training, kept = Training(model, schedule, steps), []
        for step, index in enumerate(minibatches(count, schedule), 1):
            rows = both(chosen, rejected, index)
            known = torch.cat([reference[index], reference[count + index]])
            training.step(dpo_loss(model, rows, known, beta))
            if step in moments(steps, self.config.snapshots):
                kept.append(copy.deepcopy(model))
        return kept

    def online_dpo(self, beta: float) -> list[GPT2LMHeadModel]:
        """Two fresh samples a prompt, ordered by the reward model."""

        def loss(model: GPT2LMHeadModel, prompts: Tensor) -> Tensor | None:
            rows = self.generate(model, prompts, 2)
            done = self.finished(rows).view(-1, 2)
            score = in_batches(self.judge, rows).view(-1, 2)
            floor = score[done].min() - 1 if done.any() else score.min()
            rank = torch.where(done, score, floor)
            place = 2 * torch.arange(len(prompts))
            wins = (rank[:, 0] > rank[:, 1]).long()
            usable = done.any(dim=1) & (rank[:, 0] != rank[:, 1])
            usable &= (rows[0][place] != rows[0][place + 1]).any(dim=1)
            if not usable.any():
                return None
            index = torch.cat([(place + 1 - wins)[usable], (place + wins)[usable]])
            picked = take(rows, index)
            known = in_batches(lambda part: logprobs(self.start, part), picked)
            return dpo_loss(model, picked, known, beta)

        return self.online(loss)

    def rloo(self, beta: float) -> list[GPT2LMHeadModel]:
        """Groups of fresh samples, scored by the reward model."""
        group = self.recipe.group

        def loss(model: GPT2LMHeadModel, prompts: Tensor) -> Tensor:
            rows = self.generate(model, prompts, group)
            rows = take(rows, torch.arange(len(rows[0])))
            done, score = self.finished(rows), in_batches(self.judge, rows)
            score = torch.where(done, score, score[done].min() - 1 if done.any() else score.min())
            known = in_batches(lambda part: logprobs(self.start, part), rows)
            return rloo_loss(model, rows, score, known, beta, group)

        return self.online(loss)

    def online(
        self, loss: Callable[[GPT2LMHeadModel, Tensor], Tensor | None]
    ) -> list[GPT2LMHeadModel]:
        """An update on each batch of fresh prompts; the policy at each moment."""
        model, schedule = copy.deepcopy(self.start), self.recipe.online
        training, kept = Training(model, schedule, schedule.rounds), []
        size = schedule.batch_size
        laps = math.ceil(schedule.rounds * size / len(self.train))
        order = torch.cat([torch.randperm(len(self.train)) for _ in range(laps)])
        for step in range(schedule.rounds):
            found = loss(model, self.train[order[step * size : (step + 1) * size]])
            if found is not None:
                training.step(found)
            if step + 1 in moments(schedule.rounds, self.config.snapshots):
                kept.append(copy.deepcopy(model))
        return kept

    def margins(self, score: Callable[[Rows], Tensor]) -> list[float]:
        """What a scorer says of test pairs and of 150 training pairs."""
        out: list[float] = []
        for split in ("test", "train"):
            chosen, rejected = self.pairs[split]
            index = torch.arange(len(chosen[0]))[: 150 if split == "train" else None]
            values = in_batches(score, both(chosen, rejected, index)).chunk(2)
            out += (values[0] - values[1]).tolist()
        return out

    def evaluate(self, policy: GPT2LMHeadModel, proxy: Reward | None) -> dict[str, Any]:
        """A policy on held-out prompts."""
        samples = self.config.samples_per_prompt
        rows = {name: self.generate(policy, p, samples) for name, p in self.eval.items()}
        test = rows["test"]
        own, start = (
            in_batches(lambda part, model=model: logprobs(model, part), test)
            for model in (policy, self.start)
        )
        return {
            "metric": self.truth(test),
            "metric_train": float(np.mean(self.truth(rows["train"]))),
            "kl": (own - start).tolist(),
            "proxy": None if proxy is None else float(in_batches(proxy, test).mean()),
            "selection": float(in_batches(self.selector, rows["selection"]).mean()),
            "length": (test[2] - test[1]).tolist(),
            "no_eos": (~self.finished(test)).tolist(),
        }

    def best_of_n(self) -> int:
        """Best-of-N of the start policy by the reward model; the number of cells."""
        ns, pool = self.config.ns, self.config.pool
        for name, prompts in self.eval.items():
            count = pool if name == "test" else max(ns)
            rows = self.generate(self.start, prompts, count)
            score = in_batches(self.judge, rows)
            score = torch.where(self.finished(rows), score, score.min() - 1).view(-1, count)
            if name == "selection":
                values = in_batches(self.selector, rows).view(-1, count).numpy()
            else:
                values = np.array(self.truth(rows)).reshape(-1, count)
            for n in ns:
                for ranks, row in zip(score.numpy(), values, strict=True):
                    stats.best_of_n_weights(ranks, n) @ row
                    if name == "test":
                        stats.best_of_n_kl(ranks, n)
        return len(ns)


class Clock:
    """Processor and wall seconds by kind of job."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Count what happens inside."""
        since = time.process_time()
        yield
        self.cpu[kind] += time.process_time() - since


def main() -> None:
    """Run the seeds that the file names; write cells and seconds."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(asked["threads"])
    config, clock = build_config(asked["config"]), Clock()
    cells = sum(Script(config, seed, clock).run() for seed in config.seeds)
    Path(sys.argv[2]).write_text(json.dumps({"cells": cells, "kinds": clock.cpu}))


if __name__ == "__main__":
    main()
