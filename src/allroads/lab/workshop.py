"""Where a job finds its materials: data, policies, reward models, from the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import logging as transformers_logging

from allroads import files
from allroads.data.dataset import Dataset
from allroads.data.tokenise import Tokeniser, load_tokeniser
from allroads.data.worlds import World, is_file
from allroads.errors import ModelError, RunFolderError
from allroads.evaluation.graders import Grader, TextPairs, fit_grader
from allroads.evaluation.wins import Draw, Wins
from allroads.judges import (
    CallableLabeller,
    GlobalLabeller,
    JudgeLabeller,
    Labeller,
    LocalLabeller,
    UserVerifier,
    load_verifier,
    reading_text,
)
from allroads.lab import base
from allroads.lab.config import CompareConfig
from allroads.lab.jobs import GIVEN, fingerprint
from allroads.lab.outside import judge_of
from allroads.lab.prepare import demonstrations_only
from allroads.lab.recent import Recent
from allroads.lab.settings import Settings
from allroads.models import recompute
from allroads.models.builtin import small_transformer
from allroads.models.critic import Critic
from allroads.models.device import resolve_device
from allroads.models.lora import add_adapter, has_adapter, is_adapter
from allroads.models.policy import Policy, load_policy
from allroads.models.reward_model import Reading, RewardModel, load_reward_model, reward_model_on
from allroads.roads.stage import BASE, JUDGE, VERIFIER
from allroads.types import Split

WORLD_CACHE = "world"
"""Where in a run folder a world keeps what is slow to make."""
_SMALL = 1 << 26
"""Bytes of weights, at most, of a model that is kept; a larger one lives while it is used."""


class Workshop:
    """Materials of one run folder.

    Args:
        folder: the run folder.
        config: what was asked.
        settings: what was resolved from it once, before the first job.
    """

    def __init__(self, folder: Path, config: CompareConfig, settings: Settings) -> None:
        # A run loads hundreds of small checkpoints: one progress bar each is noise.
        transformers_logging.disable_progress_bar()
        self.folder, self.config, self.settings = folder, config, settings
        self.device = resolve_device(config.device)
        self.dtype: torch.dtype = getattr(torch, config.dtype)
        self._policies = Recent[Policy](4, self._worth_keeping)
        self._datasets = Recent[Dataset](4)
        # The selection scorer, which every road meets, and a labeller.
        self._reward_models = Recent[RewardModel](2, lambda rm: _bytes(rm.model) <= _SMALL)
        self._wins: tuple[tuple[str, int], Wins] | None = None

    @cached_property
    def world(self) -> World | None:
        """The world, if the run has one; a user's as it was when the run was planned.

        Raises:
            RunFolderError: when the user's file has changed since.
        """
        made = self.config.make_world(cache=self.folder / WORLD_CACHE)
        if made is not None and is_file(made.name):
            if base.data_fingerprint(self.config, made) != self.settings.data_fingerprint:
                raise RunFolderError(
                    f"--world {made.name}: the file has changed while the run was going on; it is "
                    "another world now, which needs another --out"
                )
        return made

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The one tokeniser of a run on files."""
        assert self.settings.model_folder is not None
        return load_tokeniser(
            self.settings.model_folder,
            max_length=self.settings.max_length,
            over_long=self.config.over_long,
        )

    @cached_property
    def file_dataset(self) -> Dataset:
        """The dataset of a run on files."""
        return Dataset.from_json((self.folder / "data" / "dataset.json").read_text("utf-8"))

    def pairs_path(self, job_id: str) -> Path:
        """Where a world's pairs of one seed lie."""
        return self.folder / "data" / f"{job_id}.json"

    def dataset(self, needs: Sequence[str], seed: int) -> Dataset:
        """The dataset that a job sees: the file's, or a world's with pairs if it needs them."""
        if self.world is None:
            return self.file_dataset
        pairs = next((need for need in needs if self.pairs_path(need).is_file()), "")
        return self._datasets.get((pairs, seed), lambda: self._made(pairs, seed))

    def _made(self, pairs: str, seed: int) -> Dataset:
        """A world's dataset of one seed; `pairs` is the job that made its pairs, or empty."""
        if pairs:
            return Dataset.from_json(self.pairs_path(pairs).read_text("utf-8"))
        assert self.world is not None
        return demonstrations_only(self.world, self.config.sizes, seed=seed)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, end-of-sequence hidden."""
        return self.world.decode(tokens) if self.world else self.tokeniser.decode(tokens)

    @cached_property
    def grader(self) -> Grader:
        """The grader of a run on files, fitted on its own split once in the run folder."""
        name = fingerprint([self.settings.grader_fingerprint, self.settings.data_fingerprint])
        head = self.folder / "cache" / f"grader-{name}.json"
        return fit_grader(self.settings.grader, self.text_pairs("grader"), head)

    @cached_property
    def verifier(self) -> UserVerifier:
        """The user's verifier of a run on files, as it was when the run was planned.

        Raises:
            RunFolderError: when its file has changed since.
        """
        assert self.config.verifier is not None
        found = load_verifier(self.config.verifier)
        if found.fingerprint != self.settings.verifier_fingerprint:
            raise RunFolderError(
                f"--verifier {self.config.verifier}: the file has changed while the run was going "
                "on; run the same command again: what the old file labelled is trained anew"
            )
        return found

    def wins(self, start: str, seed: int, draw: Draw) -> Wins:
        """The metric of a run on files; the start policy's own answers are drawn once a seed."""
        if self._wins is None or self._wins[0] != (start, seed):
            self._wins = (start, seed), Wins(self.grader, self.decode, draw)
        return self._wins[1]

    def text_pairs(self, split: Split) -> TextPairs:
        """The file's pairs of one split as a grader reads them."""
        return TextPairs.of(self.file_dataset.pairs[split], self.decode)

    def model_folder(self, job_id: str) -> Path:
        """The final model of a stage."""
        return self.folder / "checkpoints" / job_id / "model"

    def policy(self, name: str, seed: int) -> Policy:
        """A frozen policy: 'base', a stage's job id, or 'given:FOLDER'. Do not train it."""
        drawn = name == BASE and self.world is not None and not self.world.needs_model
        key = (name, seed if drawn else -1)
        return self._policies.get(key, lambda: self._load(name, seed))

    def _worth_keeping(self, policy: Policy) -> bool:
        """Small ones; with adapters all, because they share one base."""
        return self.config.lora is not None or _bytes(policy.model) <= _SMALL

    def fresh_policy(self, name: str, seed: int) -> Policy:
        """A copy that may be trained: all of it, or an adapter beside the shared base."""
        policy = self.policy(name, seed).twin()
        if self.config.lora is not None and not has_adapter(policy.model):
            add_adapter(policy.model, self.config.lora, seed)
        if self.config.gradient_checkpointing:
            recompute.prepare(policy.model)
        return policy

    def _load(self, name: str, seed: int) -> Policy:
        if name == BASE and self.world is not None and not self.world.needs_model:
            policy = small_transformer(
                vocabulary=len(self.world.vocabulary),
                context=self.world.context,
                eos_id=self.world.eos_id,
                seed=seed,
            )
            policy.model.to(device=self.device, dtype=self.dtype)  # type: ignore[call-arg]
            return self._frozen_base(policy)
        if name == BASE:
            assert self.settings.model_folder is not None
            folder: str | Path = self.settings.model_folder
        elif name.startswith(GIVEN):
            folder = name.removeprefix(GIVEN)
        else:
            folder = self.model_folder(name)
        adapter = name != BASE and not name.startswith(GIVEN) and is_adapter(folder)
        policy = load_policy(
            folder,
            eos_id=self.settings.eos_id,
            dtype=self.dtype,
            device=self.device,
            base=self.policy(BASE, seed) if adapter else None,
        )
        vocabulary = policy.model.config.get_text_config().vocab_size
        if name.startswith(GIVEN) and vocabulary != self.settings.vocabulary:
            raise ModelError(
                f"--policy {folder}: its vocabulary has {vocabulary} tokens, the base model's "
                f"{self.settings.vocabulary}; only models with the same tokenizer can be compared"
            )
        return self._frozen_base(policy) if name == BASE else policy

    def _frozen_base(self, policy: Policy) -> Policy:
        """With adapters the base is never trained, and all policies share its weights."""
        if self.config.lora is not None:
            policy.model.requires_grad_(requires_grad=False)
        return policy

    def new_reward_model(self, start: str, seed: int, reading: Reading) -> RewardModel:
        """A reward model to be trained, on the backbone of a policy."""
        made = reward_model_on(
            self.policy(start, seed), reading=reading, seed=seed, adapter=self.config.lora
        )
        if self.config.gradient_checkpointing:
            recompute.prepare(made.model)
        return made

    def new_critic(self, name: str, start: str, seed: int) -> Critic:
        """A critic to be trained: from a reward model's job, else from a policy with a new head."""
        if not name:
            return Critic(self.new_reward_model(start, seed, "last"))
        made = self._load_reward_model(name, seed)
        if self.config.gradient_checkpointing:
            recompute.prepare(made.model)
        return Critic(made)

    def reward_model(self, name: str, seed: int) -> RewardModel:
        """A frozen reward model: a stage's, or one the user gave. Do not train it."""
        return self._reward_models.get((name, seed), lambda: self._load_reward_model(name, seed))

    def _load_reward_model(self, name: str, seed: int) -> RewardModel:
        if name.startswith(GIVEN):
            folder = name.removeprefix(GIVEN)
            return load_reward_model(folder, dtype=self.dtype, device=self.device)
        folder = self.model_folder(name)
        base = self.policy(BASE, seed) if is_adapter(folder) else None
        return load_reward_model(folder, dtype=self.dtype, device=self.device, base=base)

    def labeller(self, spec: dict[str, Any] | None, seed: int) -> Labeller | None:
        """The labeller that a job names."""
        if spec is None:
            return None
        name = spec["id"]
        if name == VERIFIER:
            own = self.world.verify if self.world else reading_text(self.verifier, self.decode)
            return CallableLabeller(own)
        if name == JUDGE:
            return JudgeLabeller(judge_of(self.config, self.folder), self.decode)
        if name.startswith(GIVEN):
            return GlobalLabeller(
                self.reward_model(name, seed), self.config.token_budget, origin="outside"
            )
        return self.scorer(name, seed)

    def scorer(self, job_id: str, seed: int) -> Labeller:
        """A finished stage as a scorer: its head, or its policy's implicit reward."""
        made = files.read_json(self.folder / "checkpoints" / job_id / "stage.json")
        if made["makes"] == "reward model":
            return GlobalLabeller(self.reward_model(job_id, seed), self.config.token_budget)
        return LocalLabeller(
            self.policy(job_id, seed),
            self.policy(made["reference"], seed) if made["reference"] else None,
            made["beta"],
            made.get("temperature", self.config.temperature),
            self.config.token_budget,
            over_tokens=made["over_tokens"],
        )

    def save_tokenizer(self, folder: Path) -> None:
        """Put the tokenizer beside a model, so that the checkpoint is complete."""
        source = self.folder / "tokenizer"
        for file in sorted(source.iterdir()):
            (folder / file.name).write_bytes(file.read_bytes())


def _bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())
