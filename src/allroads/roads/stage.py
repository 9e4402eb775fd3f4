"""A road is a list of stages; a stage is four choices and a schedule.

source (who writes the completions) x labeller (who says how good they are) x pick (which of them
reach the loss) x objective (what turns them into a gradient). A combination is legal when what
the pick yields is what the loss takes; anything else is refused with that sentence.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from allroads.errors import ConfigError, nearest
from allroads.roads.losses import LOSSES

SELF = "self"
DATA = "data"
BASE = "base"
VERIFIER = "verifier"
JUDGE = "judge"
DEMONSTRATIONS = "demonstrations"
PAIRS = "pairs"

_WORDS: dict[str, tuple[str, ...]] = {
    "start": (BASE,),
    "source": (DEMONSTRATIONS, PAIRS, SELF, BASE),
    "labeller": ("none", DATA, VERIFIER, JUDGE),
    "reference": ("start", BASE, ""),
}
_RESERVED = frozenset(word for words in _WORDS.values() for word in words)

PickName = Literal["as-given", "winners", "two", "best-worst", "group"]
Score = Literal["log-prob", "implicit", "head-last", "head-mean", "head-sum"]
Unit = Literal["single", "pair", "group"]


class Choice(BaseModel):
    """A frozen choice; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Choice):
    """Who writes the completions."""

    who: str
    """'demonstrations', 'pairs', 'self' (the policy in training) or the name of a stage."""
    per_prompt: int | None = 1
    """Completions per prompt; None: to be given (the N that a comparison varies)."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; log-probabilities are taken at the run's one temperature."""
    refresh: Literal["once", "round", "update"] = "once"
    """Fresh samples once for all prompts, every round of several updates, or every update."""

    @property
    def sampled(self) -> bool:
        """Whether a policy writes, rather than the data."""
        return self.who not in (DEMONSTRATIONS, PAIRS)


class Objective(Choice):
    """What turns completions into a gradient: a loss on a scored quantity."""

    loss: str
    """A name of `losses.LOSSES`, or 'none': the stage trains nothing (best-of-N)."""
    score: Score = "log-prob"
    """log-prob of the policy, implicit reward beta*log(pi/pi_ref), or a scalar head and where it
    reads: the last token, the mean or the sum over completion tokens."""
    reference: str | None = None
    """A stage, 'start' (what this stage starts from) or None (reference-free)."""
    beta: float | None = None
    """Price of one nat of divergence, in reward units; None: to be given."""

    @property
    def uses_beta(self) -> bool:
        """Whether a beta means anything here."""
        return self.score == "implicit" or self.loss == "rloo"


class Schedule(Choice):
    """How long and how fast a stage learns."""

    learning_rate: float = Field(default=1e-3, ge=0)
    batch_size: int = Field(default=64, ge=1)
    """Units (completions, pairs, groups) per optimiser step."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the data, or over each batch of samples."""
    rounds: int = Field(default=1, ge=1)
    """Batches of fresh samples; with refresh 'update' this is the number of updates."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises from 0."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""


class Stage(Choice):
    """One stage of a road."""

    name: str
    start: str = BASE
    """'base' or the stage whose weights this one starts from."""
    source: Source
    labeller: str = "none"
    """'none', 'data', 'verifier', 'judge', or the stage used as reward model."""
    pick: PickName = "as-given"
    objective: Objective
    schedule: Schedule = Schedule()

    @property
    def trains(self) -> bool:
        """False for best-of-N, whose artefact is (policy, labeller, N)."""
        return self.objective.loss != "none"

    @property
    def kind(self) -> Literal["policy", "local reward model", "reward model", "best-of-n"]:
        """What a later stage gets when it names this one.

        A policy fitted on its implicit reward is a local reward model too.
        """
        if not self.trains:
            return "best-of-n"
        if self.makes == "reward model":
            return "reward model"
        return "local reward model" if self.objective.score == "implicit" else "policy"

    def roles(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(role, stage named, kinds that can fill it) for every stage that this one names."""
        policies = ("policy", "local reward model")
        rows = [
            ("starts from", self.start, policies),
            ("samples from", self.source.who, policies),
            ("is labelled by", self.labeller, ("reward model", "local reward model")),
            ("refers to", self.objective.reference or "", policies),
        ]
        return [row for row in rows if row[1] not in _RESERVED]

    @property
    def makes(self) -> Literal["policy", "reward model"]:
        """What the stage leaves behind."""
        return "reward model" if self.objective.score.startswith("head-") else "policy"

    @property
    def yields(self) -> Unit:
        """What the pick hands to the loss.

        Raises:
            ConfigError: when the pick cannot be made from this source.
        """
        what = "sampled completions" if self.source.sampled else self.source.who
        table: dict[tuple[str, PickName], Unit] = {
            (DEMONSTRATIONS, "as-given"): "single",
            (PAIRS, "as-given"): "pair",
            (PAIRS, "winners"): "single",
            ("sampled completions", "winners"): "single",
            ("sampled completions", "two"): "pair",
            ("sampled completions", "best-worst"): "pair",
            ("sampled completions", "group"): "group",
        }
        if (what, self.pick) not in table:
            possible = sorted(pick for source, pick in table if source == what)
            raise ConfigError(
                f"stage {self.name!r}: pick {self.pick!r} cannot be made from {what}; "
                f"possible: {', '.join(possible)}"
            )
        return table[what, self.pick]

    @model_validator(mode="after")
    def _legal(self) -> Stage:
        self._check_words()
        self._check_objective()
        self._check_labeller()
        return self

    def _check_objective(self) -> None:
        objective = self.objective
        if objective.loss == "none":
            if not self.source.sampled or self.pick != "winners":
                raise ConfigError(
                    f"stage {self.name!r}: loss 'none' is best-of-N: it needs a policy as source "
                    f"and pick 'winners', found source {self.source.who!r}, pick {self.pick!r}"
                )
            return
        if objective.loss not in LOSSES:
            raise ConfigError(
                f"stage {self.name!r}: loss {objective.loss!r} is unknown: "
                + nearest(objective.loss, [*LOSSES, "none"])
            )
        loss = LOSSES[objective.loss]
        if self.yields != loss.takes:
            raise ConfigError(
                f"stage {self.name!r}: pick {self.pick!r} yields a {self.yields}, but loss "
                f"{loss.name!r} takes a {loss.takes}"
            )
        if objective.score not in loss.scores:
            raise ConfigError(
                f"stage {self.name!r}: loss {loss.name!r} works on {' or '.join(loss.scores)}, "
                f"found score {objective.score!r}"
            )
        if loss.needs_reference and objective.reference is None:
            raise ConfigError(f"stage {self.name!r}: loss {loss.name!r} needs a reference")
        if self.makes == "reward model" and self.source.who == SELF:
            raise ConfigError(
                f"stage {self.name!r}: a reward model writes no completions; source cannot be "
                "'self', name a policy stage"
            )
        if objective.beta is not None and objective.beta <= 0 and objective.uses_beta:
            raise ConfigError(f"stage {self.name!r}: beta must be positive, got {objective.beta}")

    def _check_labeller(self) -> None:
        if self.source.refresh == "once" and self.schedule.rounds > 1:
            raise ConfigError(
                f"stage {self.name!r}: refresh 'once' samples a single time, but the schedule has "
                f"{self.schedule.rounds} rounds; use refresh 'round' or rounds 1"
            )
        if self.source.sampled:
            if self.labeller in ("none", DATA):
                raise ConfigError(
                    f"stage {self.name!r}: sampled completions need a labeller (a reward-model "
                    f"stage, 'verifier' or 'judge'), found {self.labeller!r}"
                )
            need = {"two": 2, "best-worst": 2, "group": 2, "winners": 1}[self.pick]
            if self.source.per_prompt is not None and self.source.per_prompt < need:
                raise ConfigError(
                    f"stage {self.name!r}: pick {self.pick!r} needs at least {need} completions "
                    f"per prompt, found {self.source.per_prompt}"
                )
        elif self.labeller != (DATA if self.source.who == PAIRS else "none"):
            wanted = DATA if self.source.who == PAIRS else "none"
            raise ConfigError(
                f"stage {self.name!r}: source {self.source.who!r} is labelled by {wanted!r}, "
                f"found {self.labeller!r}"
            )

    def needs(self) -> set[str]:
        """Names of the stages that must be finished before this one."""
        return {name for _, name, _ in self.roles()}

    def _check_words(self) -> None:
        """Each field has reserved words of its own; another field's cannot name a stage here."""
        for field, word in (
            ("start", self.start),
            ("source", self.source.who),
            ("labeller", self.labeller),
            ("reference", self.objective.reference or ""),
        ):
            if word in _RESERVED and word not in _WORDS[field]:
                raise ConfigError(
                    f"stage {self.name!r}: {field} cannot be {word!r}; it is the name of an "
                    f"earlier stage or one of {', '.join(repr(w) for w in _WORDS[field] if w)}"
                )
        if self.name in _RESERVED:
            raise ConfigError(f"a stage cannot be called {self.name!r}: the word is reserved")


class Road(Choice):
    """A named list of stages; the last one is what the road is for."""

    name: str
    stages: tuple[Stage, ...] = Field(min_length=1)
    summary: str = ""
    source: str = ""
    """Citation."""
    purpose: Literal["policy", "scorer"] = "policy"
    """Whether the last stage is compared as a policy, or only judged as a reward model."""

    @model_validator(mode="after")
    def _connected(self) -> Road:
        known: dict[str, Stage] = {}
        for stage in self.stages:
            if stage.name in known:
                raise ConfigError(f"road {self.name!r}: two stages are called {stage.name!r}")
            for other in sorted(stage.needs()):
                if other not in known:
                    raise ConfigError(
                        f"road {self.name!r}: stage {stage.name!r} needs {other!r}, which is no "
                        f"earlier stage: {nearest(other, known or [BASE])}"
                    )
            for role, name, wanted in stage.roles():
                if name in known and known[name].kind not in wanted:
                    raise ConfigError(
                        f"road {self.name!r}: stage {stage.name!r} {role} {name!r}, which is a "
                        f"{known[name].kind}, not a {' or '.join(wanted)}"
                    )
            known[stage.name] = stage
        if self.last.source.per_prompt is None and any(map(_open_beta, self.stages)):
            raise ConfigError(
                f"road {self.name!r} leaves both N and beta open; give one of them a value"
            )
        return self

    @property
    def last(self) -> Stage:
        """The stage that the road is for."""
        return self.stages[-1]

    @property
    def knob(self) -> Literal["beta", "N", ""]:
        """What a comparison varies: whatever the stages leave to be given."""
        if self.last.source.sampled and self.last.source.per_prompt is None:
            return "N"
        return "beta" if any(map(_open_beta, self.stages)) else ""

    def at(self, value: float | None) -> Road:
        """The same road with its knob set."""
        if self.knob == "":
            return self
        if value is None:
            raise ConfigError(f"road {self.name!r} needs a value for {self.knob}")
        if self.knob == "N" and value != int(value):
            raise ConfigError(f"road {self.name!r}: N must be a whole number, got {value:g}")
        stages = [_set(stage, self.knob, value).model_dump() for stage in self.stages]
        return Road.model_validate({**dict(self), "stages": stages})


def _open_beta(stage: Stage) -> bool:
    return stage.objective.uses_beta and stage.objective.beta is None


def _set(stage: Stage, knob: str, value: float) -> Stage:
    if knob == "N" and stage.source.per_prompt is None:
        source = stage.source.model_copy(update={"per_prompt": int(value)})
        return stage.model_copy(update={"source": source})
    if knob == "beta" and stage.objective.uses_beta and stage.objective.beta is None:
        objective = stage.objective.model_copy(update={"beta": value})
        return stage.model_copy(update={"objective": objective})
    return stage


def differences(a: Road, b: Road) -> list[tuple[str, str, str]]:
    """(field, in a, in b) for every field in which two roads' stages differ.

    Stages are matched by name, and the last stages with each other; a stage that only one road has
    is one line.
    """
    left, right = _fields(a), _fields(b)
    out: dict[str, tuple[str, str, str]] = {}
    for key in dict.fromkeys([*left, *right]):
        stage = key.split(".")[0]
        alone = [any(k.startswith(stage + ".") for k in side) for side in (left, right)]
        if not all(alone):
            out[stage] = (stage, *("a stage of its own" if has else "-" for has in alone))  # type: ignore[assignment]
        elif left.get(key) != right.get(key):
            out[key] = (key, left.get(key, "-"), right.get(key, "-"))
    return list(out.values())


def _fields(road: Road) -> dict[str, str]:
    out: dict[str, str] = {}
    for stage in road.stages:
        label = "last" if stage is road.last else stage.name
        dump = stage.model_dump(exclude={"name"})
        for key, value in dump.items():
            if isinstance(value, dict):
                out |= {f"{label}.{key}.{k}": str(v) for k, v in value.items()}
            else:
                out[f"{label}.{key}"] = str(value)
    return out
