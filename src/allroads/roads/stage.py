"""A road is a list of stages; a stage is four choices and a schedule.

source (who writes the completions) x labeller (who says how good they are) x pick (which of them
reach the loss) x objective (what turns them into a gradient). A combination is legal when what
the pick yields is what the loss takes; anything else is refused with that sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import Field, model_validator

from allroads.errors import ConfigError, nearest
from allroads.roads.choices import (
    BASE,
    DATA,
    DEMONSTRATIONS,
    JUDGE,
    PAIRS,
    SELF,
    VERIFIER,
    WRITER,
    Advantage,
    Choice,
    Objective,
    Schedule,
    Source,
)
from allroads.roads.losses import LOSSES, Loss

_WORDS: dict[str, tuple[str, ...]] = {
    "start": (BASE,),
    "source": (DEMONSTRATIONS, PAIRS, SELF, BASE),
    "labeller": ("none", DATA, VERIFIER, JUDGE),
    "reference": ("start", BASE, WRITER, ""),
    "critic": ("start", ""),
}
_RESERVED = frozenset(word for words in _WORDS.values() for word in words)
_OPTIONS = (
    *("beta_factor", "over_tokens", "margin", "smoothing", "weight", "eta"),
    *("advantage", "kl", "clip", "normalise", "critic"),
)
"""Fields of an objective that only some losses read."""

PickName = Literal[
    "as-given", "winners", "two", "best-worst", "margin-matched", "group", "demonstrated"
]
Unit = Literal["single", "pair", "group"]


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
            ("replays" if self.source.replayed else "samples from", self.source.who, policies),
            ("is labelled by", self.labeller, ("reward model", "local reward model")),
            ("refers to", self.objective.reference or "", policies),
            ("has a critic from", self.critic, ("reward model",)),
        ]
        return [row for row in rows if row[1] not in _RESERVED]

    @property
    def critic(self) -> str:
        """Where the critic's weights come from; "" without one."""
        return "" if self.objective.critic is None else self.objective.critic.start

    @property
    def on_policy(self) -> bool:
        """Whether every update trains on samples of just this policy."""
        fresh = self.source.who == SELF and self.source.refresh == "update"
        return fresh and self.schedule.epochs == 1

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
        if self.source.replayed:
            what = "an earlier stage's pairs"
        table: dict[tuple[str, PickName], Unit] = {
            (DEMONSTRATIONS, "as-given"): "single",
            (PAIRS, "as-given"): "pair",
            (PAIRS, "winners"): "single",
            (PAIRS, "two"): "pair",
            ("sampled completions", "winners"): "single",
            ("sampled completions", "two"): "pair",
            ("sampled completions", "best-worst"): "pair",
            ("sampled completions", "margin-matched"): "pair",
            ("sampled completions", "group"): "group",
            ("sampled completions", "demonstrated"): "pair",
            ("an earlier stage's pairs", "as-given"): "pair",
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
        self._check_source()
        self._check_objective()
        self._check_labeller()
        return self

    def _check_source(self) -> None:
        source, schedule = self.source, self.schedule
        if source.replayed and source.who in _RESERVED:
            raise ConfigError(
                f"stage {self.name!r}: refresh 'never' trains on the pairs of an earlier stage; "
                f"source must name it, found {source.who!r}"
            )
        chooses = source.sampled and self.trains and self.pick != "demonstrated"
        if source.prompts != "all" and not chooses:
            raise ConfigError(
                f"stage {self.name!r}: source.prompts says which prompts a policy answers to be "
                f"trained on; found {source.prompts!r} with source {source.who!r}, pick "
                f"{self.pick!r}, loss {self.objective.loss!r}; leave it out"
            )
        if schedule.updates is not None and (schedule.rounds > 1 or schedule.epochs > 1):
            raise ConfigError(
                f"stage {self.name!r}: schedule.updates counts the steps of a stage of one round "
                f"and takes the place of epochs; found rounds {schedule.rounds}, epochs "
                f"{schedule.epochs}; leave both at 1"
            )

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
        self._check_options(loss)
        if self.makes == "reward model" and self.source.who == SELF:
            raise ConfigError(
                f"stage {self.name!r}: a reward model writes no completions; source cannot be "
                "'self', name a policy stage"
            )
        if objective.beta is not None and objective.beta <= 0 and objective.uses_beta:
            raise ConfigError(f"stage {self.name!r}: beta must be positive, got {objective.beta}")

    def _check_options(self, loss: Loss) -> None:
        objective = self.objective
        for name in _OPTIONS:
            default = Objective.model_fields[name].default
            if name not in loss.reads and getattr(objective, name) != default:
                raise ConfigError(
                    f"stage {self.name!r}: loss {loss.name!r} does not read {name!r}; leave it out"
                )
        if objective.over_tokens == "mean" and objective.score != "implicit":
            raise ConfigError(
                f"stage {self.name!r}: over_tokens 'mean' is for score 'implicit', found "
                f"{objective.score!r}"
            )
        if objective.temperature is not None and objective.score != "implicit":
            raise ConfigError(
                f"stage {self.name!r}: a temperature of its own is for an implicit reward, whose "
                "log-probabilities meet those of its reference alone; score "
                f"{objective.score!r} is taken as the samples are drawn, leave temperature out"
            )
        if "advantage" in loss.reads and objective.advantage == "none":
            raise ConfigError(
                f"stage {self.name!r}: loss {loss.name!r} needs an advantage: one of "
                f"{', '.join(repr(a) for a in get_args(Advantage)[1:])}"
            )
        if (objective.advantage == "lambda") != (objective.critic is not None):
            raise ConfigError(
                f"stage {self.name!r}: advantage 'lambda' and a critic go together; found "
                f"{objective.advantage!r} and {'a' if objective.critic else 'no'} critic"
            )
        if objective.kl != "none" and objective.reference is None:
            raise ConfigError(
                f"stage {self.name!r}: kl {objective.kl!r} needs a reference to measure it from"
            )
        if objective.kl == "loss" and not loss.by_token:
            raise ConfigError(
                f"stage {self.name!r}: kl 'loss' is for losses by token; loss {loss.name!r} takes "
                "it in the reward"
            )
        if objective.reference == WRITER and (self.source.who != SELF or objective.kl != "none"):
            raise ConfigError(
                f"stage {self.name!r}: reference 'writer' is this stage's own policy of the round, "
                "for source 'self' and without a kl"
            )

    @property
    def _least_samples(self) -> int:
        """Completions per prompt below which the pick has nothing to choose."""
        if self.pick == "group":
            loss = LOSSES.get(self.objective.loss)
            alone = self.objective.advantage in ("others", "lambda")
            return 1 if alone and loss is not None and not loss.compares else 2
        return {"two": 2, "best-worst": 2, "margin-matched": 2}.get(self.pick, 1)

    def _check_labeller(self) -> None:
        if self.source.refresh in ("once", "never") and self.schedule.rounds > 1:
            raise ConfigError(
                f"stage {self.name!r}: refresh {self.source.refresh!r} samples "
                f"{'a single time' if self.source.sampled else 'nothing'}, but the schedule has "
                f"{self.schedule.rounds} rounds; use refresh 'round' or rounds 1"
            )
        if self.source.sampled:
            self._check_samples()
            return
        unlabelled = self.source.who == DEMONSTRATIONS or self.source.replayed
        wanted: tuple[str, ...] = ("none",) if unlabelled else (DATA,)
        if self.pick == "two":
            if self.labeller in ("none", DATA):
                raise ConfigError(
                    f"stage {self.name!r}: pick 'two' orders the data's pairs anew and needs a "
                    f"labeller that scores (a reward-model stage, 'verifier' or 'judge'), found "
                    f"{self.labeller!r}"
                )
        elif self.labeller not in wanted:
            raise ConfigError(
                f"stage {self.name!r}: source {self.source.who!r} is labelled by {wanted[0]!r}, "
                f"found {self.labeller!r}"
            )

    def _check_samples(self) -> None:
        if self.pick == "demonstrated":
            if self.labeller != DATA or self.source.who != SELF:
                raise ConfigError(
                    f"stage {self.name!r}: pick 'demonstrated' sets the data's demonstrations "
                    f"above own samples: source 'self', labeller 'data'; found "
                    f"{self.source.who!r} and {self.labeller!r}"
                )
        elif self.labeller in ("none", DATA):
            raise ConfigError(
                f"stage {self.name!r}: sampled completions need a labeller (a reward-model "
                f"stage, 'verifier' or 'judge'), found {self.labeller!r}"
            )
        if self.pick == "margin-matched" and self.labeller == JUDGE:
            raise ConfigError(
                f"stage {self.name!r}: pick 'margin-matched' compares leads of samples with leads "
                "of the data's pairs, and a judge's shares of wins have no scale that both share; "
                "use a reward model or a verifier"
            )
        found = self.source.per_prompt
        if found is not None and found < self._least_samples:
            raise ConfigError(
                f"stage {self.name!r}: pick {self.pick!r} needs at least {self._least_samples} "
                f"completions per prompt, found {found}"
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
            ("critic", self.critic),
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
            if stage.source.replayed:
                self._check_replay(stage, known[stage.source.who])
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

    def _check_replay(self, stage: Stage, replayed: Stage) -> None:
        if not (replayed.trains and replayed.source.sampled and replayed.yields == "pair"):
            raise ConfigError(
                f"road {self.name!r}: stage {stage.name!r} replays {replayed.name!r}, which was "
                "not trained on pairs of samples; replay a stage that was, or name the data's pairs"
            )

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


def behind(name: str, stages: Sequence[Stage]) -> set[str]:
    """The stage of that name and all that it stands on; nothing where there is none."""
    by_name = {stage.name: stage for stage in stages}
    seen: set[str] = set()
    front = [name]
    while front:
        one = front.pop()
        if one in by_name and one not in seen:
            seen.add(one)
            front.extend(by_name[one].needs())
    return seen


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
