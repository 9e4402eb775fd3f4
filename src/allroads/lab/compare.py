"""The main job: open a run folder, plan, run, and leave a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from allroads import files, report
from allroads.data.dataset import Dataset, build
from allroads.data.tokenise import Tokeniser, load_tokeniser
from allroads.data.worlds import World, title
from allroads.errors import DataError, ModelError
from allroads.evaluation import graders
from allroads.lab import base
from allroads.lab.cards import Cards
from allroads.lab.config import CompareConfig, build_config, recipe_for
from allroads.lab.defaults import FILES, defaults_of
from allroads.lab.execute import result_path
from allroads.lab.folder import read_manifest, write_manifest, write_summaries
from allroads.lab.jobs import Job, Plan, fingerprint, plan
from allroads.lab.outside import judge_of, tried_verifier, try_judge
from allroads.lab.results import collect
from allroads.lab.runner import Listener, locked, run_jobs
from allroads.lab.settings import Settings
from allroads.lab.tracking import begin, check, send_summary
from allroads.lab.workshop import WORLD_CACHE
from allroads.lab.writers import check_writers
from allroads.models.builtin import world_tokenizer
from allroads.models.device import resolve_device
from allroads.models.lora import is_adapter, require_peft
from allroads.models.policy import Policy
from allroads.records import Results
from allroads.roads.atlas import Recipe
from allroads.roads.stage import JUDGE


@dataclass(frozen=True)
class Prepared:
    """A comparison that is ready to run: nothing has been trained yet."""

    config: CompareConfig
    settings: Settings
    plan: Plan
    dataset: Dataset | None
    """None for worlds, whose data come into being as they run."""
    policy: Policy
    """The base model (of the first seed), for estimates."""


def prepare(config: CompareConfig) -> Prepared:
    """Resolve everything that the configuration leaves open; writes nothing.

    Raises:
        InputError: for data, a model or a combination that cannot be used.
    """
    resolve_device(config.device)
    if config.lora is not None:
        require_peft()
    check(config)
    world = config.make_world()
    return _prepare_files(config) if world is None else _prepare_world(config, world)


def replanned(prepared: Prepared, recipe: Recipe, **changes: Any) -> Prepared:
    """The same data and model with another plan: what both plans hold is the same work.

    Args:
        prepared: whose data and model.
        recipe: its schedules.
        changes: fields of its configuration.
    """
    config = prepared.config.model_copy(update=changes)
    settings = prepared.settings.model_copy(update={"recipe": recipe})
    return replace(prepared, config=config, settings=settings, plan=_plan(config, settings))


def _prepare_world(config: CompareConfig, world: World) -> Prepared:
    check_writers(world, config.sizes.writers)
    defaults = defaults_of(world.name)
    policy, folder, model_label, model_fingerprint = base.of_world(config, world)
    settings = Settings(
        recipe=config.recipe or defaults.recipe or recipe_for(base.width(policy), config.lora),
        max_length=world.context,
        max_new_tokens=world.max_new_tokens,
        fixed_length=world.fixed_length,
        eos_id=world.eos_id,
        vocabulary=policy.model.config.get_text_config().vocab_size,
        parameters=policy.parameters_count,
        sample_batch=defaults.sample_batch,
        margin=config.margin or defaults.margin,
        data_fingerprint=base.data_fingerprint(config, world),
        model_fingerprint=model_fingerprint,
        data_label=title(world.name),
        model_label=model_label,
        model_folder=str(folder.resolve()) if folder else None,
        model_notes=base.notes(config, folder) if folder else (),
    )
    return Prepared(config, settings, _plan(config, settings), None, policy)


def _prepare_files(config: CompareConfig) -> Prepared:
    assert config.model is not None
    # The model is opened first: a wrong folder is the commoner slip, and the faster to find.
    folder, policy = base.opened(config)
    # A quarter of the context stays free for sampled completions behind the longest prompt.
    max_length = config.max_length or min(policy.context * 3 // 4, 512)
    if max_length > policy.context:
        raise ModelError(
            f"--max-length {max_length}: the model has only {policy.context} positions"
        )
    tokeniser = load_tokeniser(folder, max_length=max_length, over_long=config.over_long)
    policy.eos_id = tokeniser.eos_id
    if config.start == "auto" and config.demonstrations is None and tokeniser.has_template:
        config = config.model_copy(update={"start": "base"})
    dataset = _read(config, tokeniser)
    grader, content = _grader(config, policy)
    verifier = None
    if config.verifier is not None:
        verifier = tried_verifier(config.verifier, dataset.pairs["train"][0], tokeniser.decode)
    settings = Settings(
        recipe=config.recipe or recipe_for(base.width(policy), config.lora),
        max_length=max_length,
        max_new_tokens=_longest_answer(config, dataset, policy),
        eos_id=tokeniser.eos_id,
        vocabulary=policy.model.config.get_text_config().vocab_size,
        parameters=policy.parameters_count,
        sample_batch=FILES.sample_batch,
        margin=config.margin or FILES.margin,
        data_fingerprint=dataset.fingerprint(),
        model_fingerprint=base.hash_folder(folder),
        data_label=Path(str(config.data)).name,
        model_label=base.label(config, policy),
        model_folder=str(folder.resolve()),
        model_notes=base.notes(config, folder),
        grader=grader,
        grader_fingerprint=content,
        verifier_fingerprint=verifier.fingerprint if verifier else "",
    )
    return Prepared(config, settings, _plan(config, settings), dataset, policy)


def _read(config: CompareConfig, tokeniser: Tokeniser) -> Dataset:
    """The data list, with enough in every part of it.

    Raises:
        DataError: when a split is too small, or no demonstration is left.
    """
    assert config.data is not None
    dataset = build(
        config.data,
        config.demonstrations,
        tokeniser,
        on_bad_row=config.on_bad_row,
        seed=config.split_seed,
        max_pairs=config.max_pairs,
    )
    for split, least in (("train", 20), ("selection", 5), ("test", 10), ("grader", 10)):
        if len(dataset.pairs[split]) < least:  # type: ignore[index]
            raise DataError(
                f"{config.data}: {len(dataset.pairs[split])} usable pairs fall into the split "  # type: ignore[index]
                f"{split!r}, at least {least} are needed. Give more pairs, or look at the audit "
                "(allroads data audit) for what was dropped"
            )
    if config.demonstrations is not None and not dataset.demonstrations:
        raise DataError(
            f"{config.demonstrations}: none of its demonstrations is left for training; look at "
            "the audit (allroads data audit) for what was dropped, and why"
        )
    return dataset


def _longest_answer(config: CompareConfig, dataset: Dataset, policy: Policy) -> int:
    """Most tokens of a sample: what was asked for, else what covers four in five chosen answers.

    Raises:
        ModelError: when what was asked for does not fit behind the longest prompt.
    """
    chosen = [len(pair.chosen) for pair in dataset.pairs["train"]]
    longest_prompt = max(len(p.tokens) for rows in dataset.prompts.values() for p in rows)
    wanted = config.max_new_tokens or int(np.percentile(chosen, 80))
    room = policy.context - longest_prompt
    if config.max_new_tokens is not None and wanted > room:
        raise ModelError(
            f"--max-new-tokens {wanted}: the longest prompt leaves room for {room}; give less, or "
            "lower --max-length"
        )
    return max(1, min(wanted, room))


def _plan(config: CompareConfig, settings: Settings) -> Plan:
    identity = fingerprint(
        [
            settings.data_fingerprint,
            settings.model_fingerprint,
            settings.max_new_tokens,
            settings.eos_id,
            config.temperature,
            config.dtype,
            config.token_budget,
            config.lora.model_dump() if config.lora else None,
            config.gradient_checkpointing,
        ]
    )
    return plan(
        config,
        settings.recipe,
        identity,
        _given(config),
        grader=settings.grader_fingerprint,
        verifier=settings.verifier_fingerprint,
    )


def _grader(config: CompareConfig, policy: Policy) -> tuple[str, str]:
    """The resolved grader and the fingerprint of its weights, opened once before any training.

    Raises:
        ModelError: when it cannot be opened, or is the policy itself.
    """
    name = graders.resolve(config.grader)
    folder = graders.encoder_folder(name)
    if folder is None:
        return name, name
    if graders.shares_weights(graders.load_encoder(folder), policy.model):
        raise ModelError(
            f"--grader {config.grader}: it has weights of the policy {config.model}; what grades a "
            "policy must have another backbone: give another folder, or leave --grader out"
        )
    return name, base.hash_folder(folder)


def _given(config: CompareConfig) -> dict[str, str]:
    """Fingerprints of the folders that the user gave; a wrong one is found before any training."""
    flags = [(f"--policy {name}=", folder) for name, folder in config.policies.items()]
    if config.reward_model is not None:
        flags.append(("--reward-model ", config.reward_model))
    for flag, folder in flags:
        if not (is_adapter(folder) or (Path(folder) / "config.json").is_file()):
            raise ModelError(f"{flag}{folder}: expected a model folder; found no config.json in it")
    return {folder: base.hash_folder(Path(folder)) for _, folder in flags}


def compare(prepared: Prepared, folder: Path, listener: Listener, command: str) -> Results:
    """Run a prepared comparison to its report; a finished or interrupted one is continued.

    Args:
        prepared: from `prepare`.
        folder: the run folder; made if absent.
        listener: told of progress.
        command: how to run this again, for the report.

    Raises:
        RunFolderError: when the folder is in use, or belongs to another comparison.
    """
    config, settings = prepared.config, prepared.settings
    with locked(folder):
        device = str(resolve_device(config.device))
        manifest = write_manifest(folder, config, settings, device, command)
        write_inputs(prepared, folder)
        try_labellers(prepared.config, prepared.plan.jobs, folder)
        begin(folder)
        cards = Cards(folder, config, settings, prepared.plan, manifest)
        run_jobs(prepared.plan.jobs, folder, config, settings, cards.after(listener))
        results = collect(folder, config, settings, prepared.plan, manifest)
        write_summaries(folder, prepared.plan, results)
        cards.write(results)
        report.write(results, folder / "report.html")
        if config.track:
            send_summary(folder, config, results)
    return results


def rebuild(folder: Path) -> Results:
    """Collect and render a finished run again from its files alone.

    Raises:
        RunFolderError: when the folder is no run, or its jobs are not finished.
    """
    manifest, config, settings, again = reopen(folder)
    results = collect(folder, config, settings, again, manifest)
    write_summaries(folder, again, results)
    Cards(folder, config, settings, again, manifest).write(results)
    report.write(results, folder / "report.html")
    return results


def reopen(folder: Path) -> tuple[dict[str, Any], CompareConfig, Settings, Plan]:
    """Manifest, configuration, settings and plan of a run folder's latest command.

    Raises:
        RunFolderError: when the folder is no run.
    """
    manifest = read_manifest(folder)
    config = build_config(manifest["config"], origin=str(folder / "manifest.json"))
    settings = Settings.model_validate(manifest["settings"])
    return manifest, config, settings, _plan(config, settings)


def try_labellers(config: CompareConfig, jobs: Mapping[str, Job], folder: Path) -> None:
    """Ask the judge an easy question, if a job that is not done yet will ask it hard ones.

    Raises:
        JudgeError: when it has no answer; nothing has been trained then.
    """
    left = [job for job in jobs.values() if not result_path(folder, job).is_file()]
    if any(job.asks(JUDGE) for job in left):
        try_judge(judge_of(config, folder))


def write_inputs(prepared: Prepared, folder: Path) -> None:
    """Put the tokenised data (or what a world keeps) and the tokenizer into the run folder."""
    world = prepared.config.make_world(cache=folder / WORLD_CACHE)
    if world is not None:
        world.prepare()
    tokenizer = folder / "tokenizer"
    if prepared.dataset is not None:
        path = folder / "data" / "dataset.json"
        if not path.is_file():
            files.write_text(path, prepared.dataset.to_json())
    if tokenizer.is_dir():
        return

    def fill(path: Path) -> None:
        if world is not None and not world.needs_model:
            world_tokenizer(world.vocabulary, world.eos_id).save_pretrained(path)
        else:
            from transformers import AutoTokenizer

            AutoTokenizer.from_pretrained(prepared.settings.model_folder).save_pretrained(path)

    files.write_folder(tokenizer, fill)
