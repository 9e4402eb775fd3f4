"""What a user asks of a comparison: one frozen, complete value; flags and YAML fill its fields."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from allroads.data.worlds import World, check_options, is_known, make_world, needs_model
from allroads.errors import ConfigError, nearest
from allroads.judges.client import check_key_name, endpoint
from allroads.lab.defaults import defaults_of
from allroads.lab.prepare import WorldSizes
from allroads.models.hub import located
from allroads.models.lora import Lora
from allroads.roads.atlas import Recipe
from allroads.roads.stage import Choice, Road, Schedule

JUDGE_FLAGS = "--judge-"
"""What the flags of a judge that labels begin with."""
_LORA_RATE = 10.0
"""How much larger an adapter's learning rate is than all weights' (Schulman et al. 2025, "LoRA
Without Regret": the best ratio is about ten, whatever the model)."""


def recipe_for(width: int, lora: Lora | None = None) -> Recipe:
    """Schedules for a pretrained model of hidden size `width`.

    Adam's learning rates fall with the width; the ratio between the kinds of stage is the one that
    the literature uses (a policy stage is about a tenth of likelihood's).
    """
    scale = 2048 / width * (1.0 if lora is None else _LORA_RATE)
    return Recipe(
        sft=Schedule(epochs=1, learning_rate=2e-5 * scale, batch_size=32),
        reward=Schedule(epochs=1, learning_rate=1e-5 * scale, batch_size=32),
        policy=Schedule(epochs=1, learning_rate=2.5e-6 * scale, batch_size=32),
        online=Schedule(rounds=16, learning_rate=2.5e-6 * scale, batch_size=32),
        reading="head-last",
    )


class CompareConfig(Choice):
    """One comparison.

    Exactly one of `data` and `world` is given; `model` goes with `data`, and with a world that does
    not bring its own. Where a default is said to depend, `lab/defaults.py` has it.
    """

    data: str | None = None
    """Preference pairs: JSONL (also .gz), Parquet, CSV, or a Hub dataset id."""
    demonstrations: str | None = None
    """Demonstrations in the same formats; without them `sft-chosen` is the start."""
    model: str | None = None
    """Folder of a causal language model with its tokenizer, a .gguf file, or an id of the Hub."""
    world: str | None = None
    """A built-in world: 'routes', 'preimage', 'secret' or 'reasoning', with a small transformer of
    their own, 'sentiment' or 'scitldr', with `model`; or a file of the user's, FILE.py."""
    world_options: dict[str, float | int | str] = Field(default_factory=dict)
    sizes: WorldSizes = WorldSizes()

    roads: tuple[str, ...] = ("sft", "dpo", "best-of-n", "online-dpo", "rloo")
    """Named roads, or names defined in `custom`; ROAD@LABELLER asks for another labeller."""
    custom: tuple[Road, ...] = ()
    """Roads written down as stages."""
    start: Literal["auto", "sft", "sft-chosen", "base"] = "auto"
    """What every road descends from; auto: sft with demonstrations, else base for a model with a
    chat template (it was tuned already), else sft-chosen."""
    policies: dict[str, str] = Field(default_factory=dict)
    """Already trained models that join the comparison: name -> folder."""
    reward_model: str | None = None
    """A trained reward model that takes the place of the stage 'reward-model'."""
    verifier: str | None = Field(default=None, min_length=1)
    """FILE.py or FILE.py:FUNCTION: who scores samples of roads labelled by 'verifier', on files."""
    judge_url: str | None = None
    """Server of the OpenAI chat-completions protocol, asked by roads labelled by 'judge'."""
    judge_model: str | None = Field(default=None, min_length=1)
    """The name that the server knows the model by."""
    judge_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key (never the key itself)."""
    judge_max_tokens: int = Field(default=8, ge=1)
    """Limit of a reply; a model that thinks before it answers needs hundreds."""
    grader: str = Field(default="auto", min_length=1)
    """Who grades answers where no truth is known: `tf-idf`, `minilm`, the folder of an encoder that
    is not the policy's, or `auto`: MiniLM if its package is there, else tf-idf."""

    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    betas: tuple[float, ...] = ()
    """Prices of a nat in reward units; the default depends on what is compared."""
    ns: tuple[int, ...] = ()
    """Best-of-N's N; by default 2, 4, 8 on a world and 2, 4 on files."""
    recipe: Recipe | None = None
    """Schedules; by default those of the world, or of the model's width."""
    snapshots: int = Field(default=0, ge=0)
    """Moments of a policy's training that are evaluated, the last included; 0: it depends."""

    max_length: int | None = Field(default=None, ge=8)
    """Tokens of prompt and completion together; by default three quarters of the context, at
    most 512, so that samples have room behind the longest prompt."""
    over_long: Literal["drop", "truncate", "raise"] = "drop"
    on_bad_row: Literal["drop", "raise"] = "drop"
    max_pairs: int | None = Field(default=None, ge=1)
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Length limit of samples; by default the 80th percentile of the chosen completions."""
    split_seed: int = 0

    eval_prompts: int = Field(default=0, ge=0)
    """Held-out prompts that every policy answers (or all, if there are fewer); 0: it depends."""
    samples_per_prompt: int = Field(default=1, ge=1)
    pool: int = Field(default=0, ge=0)
    """Samples per prompt that best-of-N is estimated from, larger than N; 0: it depends."""
    temperature: float = Field(default=1.0, gt=0)
    """At which every log-probability is taken and every evaluation sample drawn."""
    margin: float | None = Field(default=None, gt=0)
    """A difference below this counts as none; by default 0.02 of a reward from 0 to 1, 0.01
    of ROUGE-L, 0.1 of log-odds, 0.03 of win rate."""

    lora: Lora | None = None
    """Train low-rank adapters instead of all weights, in every stage."""
    gradient_checkpointing: bool = False
    """Recompute layers in the backward pass: less memory, a third more time."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    threads: int = Field(default=1, ge=1)
    """Threads of each process."""
    processes: int = Field(default=2, ge=1)
    token_budget: int = Field(default=0, ge=0)
    """Padded tokens of one forward pass; 0: 4096 on a world, 1024 on files, 32768 on CUDA."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    track: tuple[Literal["wandb", "tensorboard", "trackio"], ...] = ()
    """Services that draw the metrics while they come; no part of any result."""
    track_project: str = Field(default="allroads", min_length=1)
    """Their project."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, fields: Any) -> Any:
        """Fill what depends on what is compared."""
        if not isinstance(fields, dict):
            return fields
        if isinstance(track := fields.get("track") or (), str):
            track = tuple(name.strip() for name in track.split(",") if name.strip())
        fields = {**fields, "track": track}
        defaults = defaults_of(fields.get("world"))
        if fields.get("device") == "cuda" and not fields.get("token_budget"):
            fields = {**fields, "token_budget": 32768}
        return defaults.fill(fields)

    @model_validator(mode="after")
    def _complete(self) -> CompareConfig:
        if (self.data is None) == (self.world is None):
            raise ConfigError(
                "give either --data FILE --model DIR (your own) or --world routes (built in); "
                f"found data = {self.data!r}, world = {self.world!r}"
            )
        if self.data is not None and self.model is None:
            raise ConfigError("--data needs --model DIR, the base model that the roads start from")
        if self.lora is not None and self.model is None:
            raise ConfigError(
                f"--lora adapts a pretrained model; --world {self.world} trains one from scratch"
            )
        self._check_world()
        self._check_judge()
        for name, values in (
            ("roads", self.roads),
            ("seeds", self.seeds),
            ("betas", self.betas),
            ("n", self.ns),
            ("track", self.track),
        ):
            if len(set(values)) != len(values):
                raise ConfigError(f"--{name}: a value is given twice: {list(values)}")
        if not self.betas or not all(0 < beta < math.inf for beta in self.betas):
            raise ConfigError(f"--betas: each must be positive, got {list(self.betas)}")
        if not self.ns or min(self.ns) < 1 or max(self.ns) > self.pool:
            raise ConfigError(
                f"--n: each must lie between 1 and the pool of {self.pool} samples, got "
                f"{list(self.ns)}"
            )
        if clash := set(self.policies) & {*self.roads, self.start_stage, "base"}:
            raise ConfigError(f"--policy {sorted(clash)[0]}: a road has that name; choose another")
        return self

    def _check_world(self) -> None:
        if self.world is None:
            return
        if self.grader != "auto":
            raise ConfigError(f"--grader {self.grader}: a world knows the truth; leave it out")
        if self.verifier is not None:
            raise ConfigError(f"--verifier {self.verifier}: a world brings its own; leave it out")
        if is_known(self.world):
            pretrained = needs_model(self.world)
            if pretrained and self.model is None:
                raise ConfigError(
                    f"--world {self.world} needs --model DIR, the pretrained language model that "
                    "its roads start from"
                )
            if self.demonstrations or (self.model and not pretrained):
                what = "demonstrations" if pretrained else "model and demonstrations"
                raise ConfigError(f"--world brings its own {what}; leave them out")
            check_options(self.world, self.world_options)
        if self.start not in ("auto", "sft"):
            raise ConfigError(
                f"--start {self.start}: a world's pairs are samples of its SFT policy, so its "
                "roads start from sft"
            )

    def _check_judge(self) -> None:
        check_key_name(self.judge_key_env, JUDGE_FLAGS)
        if self.judge_url is not None:
            endpoint(self.judge_url, JUDGE_FLAGS)
        if (self.judge_url is None) != (self.judge_model is None):
            found, missing = ("url", "model") if self.judge_url is not None else ("model", "url")
            raise ConfigError(
                f"--judge-url and --judge-model go together: found --judge-{found} without "
                f"--judge-{missing}"
            )

    def make_world(self, cache: Path | None = None) -> World | None:
        """The world, if one is compared; `cache` as in `data.worlds.make_world`.

        Raises:
            ConfigError: for an unknown world, or one of its options.
        """
        if self.world is None:
            return None
        model = None if self.model is None else str(located(self.model))
        return make_world(self.world, model=model, cache=cache, **self.world_options)

    @property
    def start_stage(self) -> str:
        """The resolved start. Whoever opens the model resolves auto for a tuned one before."""
        if self.start != "auto":
            return self.start
        return "sft" if self.world or self.demonstrations else "sft-chosen"


def load_yaml(path: Path) -> dict[str, Any]:
    """The fields of a YAML file.

    Raises:
        ConfigError: when the file is absent, is no mapping, or is no YAML, naming the line.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"--config {path}{line}: not YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"--config {path}: expected a mapping of settings, found {value!r}")
    return value


def build_config(fields: dict[str, Any], origin: str = "settings") -> CompareConfig:
    """A checked configuration.

    Raises:
        ConfigError: one line that names the key, what was expected and what was found.
    """
    try:
        return CompareConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_one_line(error)}") from error


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        leaf = str(first["loc"][-1])
        return f"unknown key {key!r}: {nearest(leaf, _names_beside(first['loc']))}"
    return f"{key}: {first['msg']}, found {first.get('input')!r}"


def _names_beside(loc: tuple[str | int, ...]) -> list[str]:
    """Valid field names of the model in which an unknown key stood."""
    model: Any = CompareConfig
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    return list(model.model_fields)
