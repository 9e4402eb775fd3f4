"""Controls: each is its neighbour with one field changed, to see what that field alone does.

What a field is, and what it entails, says `differences.one_field`; a test asks it of every row.
`CHAIN` leads from offline to online DPO, one field at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

from allroads.roads.atlas.common import ROADS_PAPER, Common, altered, changed
from allroads.roads.choices import BASE, SELF, Choice
from allroads.roads.stage import Road, Stage

CHAIN = (
    "dpo",
    "dpo-relabelled",
    "dpo-samples",
    "dpo-samples-updates",
    "online-dpo-pair-prompts",
    "online-dpo",
)
"""Labeller, source, schedule, how often the samples are fresh, prompts."""
COLD = 0.1
"""Temperature of the paper's samples, and of its log-probabilities online."""
TANG = "Tang et al. 2024, arXiv:2405.08448"


@dataclass(frozen=True)
class Control:
    """A road, its neighbour in the table, and the one field in which they differ."""

    road: Road
    neighbour: str
    field: str


@dataclass
class _Rows:
    """The controls that are written, and the roads that a further one may change."""

    common: Common
    known: dict[str, Road]
    controls: dict[str, Control] = default(default_factory=dict)

    def add(
        self,
        name: str,
        neighbour: str,
        field: str,
        summary: str,
        *,
        called: str | None = None,
        cites: str = "",
        before: tuple[Stage, ...] | None = None,
        **changes: Any,
    ) -> None:
        """Add a road whose last stage is its neighbour's with changes, in all else alike.

        Args:
            name: of the road.
            neighbour: a road that is known.
            field: in which the two differ.
            summary: one line.
            called: the last stage's name; the neighbour's where None, so that both meet the same
                draws.
            cites: citation, of a control that a paper has.
            before: the stages before the last; the neighbour's where None.
            changes: of the last stage; a dictionary changes fields of a choice.
        """
        near = self.known[neighbour]
        parts = {part: _part(getattr(near.last, part), to) for part, to in changes.items()}
        last = changed(near.last, name=called or near.last.name, **parts)
        road = Road(
            name=name,
            stages=(*(near.stages[:-1] if before is None else before), last),
            summary=summary,
            source=cites,
            purpose=near.purpose,
        )
        self.known[name] = road
        self.controls[name] = Control(road, neighbour, field)


def _part(choice: Any, to: Any) -> Any:
    if isinstance(choice, Choice) and isinstance(to, dict):
        return type(choice).model_validate({**dict(choice), **to})
    return to


def controls(common: Common, table: Mapping[str, Road]) -> dict[str, Control]:
    """Every control of the roads of this table."""
    rows = _Rows(common, dict(table))
    families: tuple[Callable[[_Rows], None], ...]
    families = (_offline, _chain, _online, _replayed, _one_batch, _scorers, _heads)
    for family in families:
        family(rows)
    return rows.controls


def _offline(rows: _Rows) -> None:
    recipe = rows.common.recipe
    rows.add(
        "dpo-2x",
        "dpo",
        "last.schedule.epochs",
        "DPO with twice the passes over its pairs",
        cites=ROADS_PAPER,
        schedule={"epochs": 2 * recipe.policy.epochs},
    )
    rows.add(
        "dpo-reward-schedule",
        "dpo",
        "last.schedule",
        "DPO as long and as fast as the reward model: the local reward model as a policy",
        schedule=recipe.reward,
    )
    rows.add(
        "dpo-cold",
        "dpo",
        "last.objective.temperature",
        "DPO whose log-probabilities are taken at temperature 0.1",
        objective={"temperature": COLD},
    )


def _chain(rows: _Rows) -> None:
    online = rows.common.recipe.online
    rows.add(
        "dpo-samples",
        "dpo-relabelled",
        "last.source",
        "one-shot on-policy data: two samples of the start policy for each of the data's pairs",
        source={"who": SELF, "per_prompt": 2, "prompts": "pairs"},
    )
    rows.add(
        "dpo-samples-updates",
        "dpo-samples",
        "last.schedule",
        "one-shot on-policy data with as many updates as online DPO",
        schedule=online.model_copy(
            update={"rounds": 1, "epochs": 1, "updates": online.rounds * online.epochs}
        ),
    )
    rows.add(
        "online-dpo-pair-prompts",
        "online-dpo",
        "last.source.prompts",
        "online DPO on the prompts of the data's pairs alone; its neighbour augments prompts",
        cites=ROADS_PAPER,
        source={"prompts": "pairs"},
    )
    rows.add(
        "rloo-pair-prompts",
        "rloo",
        "last.source.prompts",
        "RLOO on the prompts of the data's pairs alone",
        source={"prompts": "pairs"},
    )


def _online(rows: _Rows) -> None:
    k = rows.common.recipe.batch_samples
    rows.add(
        "online-dpo-best-worst",
        "online-dpo",
        "last.pick",
        "online DPO on the best and the worst of several fresh samples",
        source={"per_prompt": k},
        pick="best-worst",
    )
    rows.add(
        "online-dpo-margin",
        "online-dpo",
        "last.pick",
        "online DPO on those two of several fresh samples whose lead is nearest to one of the "
        "data's",
        source={"per_prompt": k},
        pick="margin-matched",
    )
    rows.add(
        "online-dpo-cold",
        "online-dpo",
        "last.objective.temperature",
        "online DPO whose log-probabilities are taken at temperature 0.1, its samples at 1",
        objective={"temperature": COLD},
    )


def _replayed(rows: _Rows) -> None:
    near = rows.known["online-dpo"]
    online = near.last.schedule
    rows.add(
        "dpo-shuffled",
        "online-dpo",
        "last.source",
        "DPO from the start on all pairs that online DPO met, shuffled, for as many updates",
        called="dpo-shuffled",
        cites=TANG,
        before=near.stages,
        source={"who": near.last.name, "refresh": "never", "per_prompt": 1},
        labeller="none",
        pick="as-given",
        schedule={"rounds": 1, "epochs": 1, "updates": online.rounds * online.epochs},
    )


def _one_batch(rows: _Rows) -> None:
    rows.add(
        "online-dpo-batch-cold",
        "online-dpo-batch",
        "last.objective.temperature",
        "one batch of N samples a prompt, log-probabilities taken at temperature 0.1",
        objective={"temperature": COLD},
    )
    rows.add(
        "online-dpo-batch-paper",
        "online-dpo-batch-cold",
        "last.source.temperature",
        "the paper's temperatures: one batch drawn at 0.1, log-probabilities taken at 0.1",
        cites=ROADS_PAPER,
        source={"temperature": COLD},
    )


def _scorers(rows: _Rows) -> None:
    common = rows.common
    rows.add(
        "local-rm-free",
        "local-rm",
        "last.objective.reference",
        "the local reward model without a reference: a policy's own log-probability",
        cites=ROADS_PAPER,
        objective={"reference": None},
    )
    rows.add(
        "reward-model-relabelled",
        "reward-model",
        "last.labeller",
        "a second reward model, fitted on the same pairs as the first one orders them",
        called="reward-model-relabelled",
        before=(*common.first, common.reward_model),
        labeller=common.reward_model.name,
        pick="two",
    )
    rows.add(
        "reward-model-distilled",
        "reward-model-relabelled",
        "last.source",
        "a second reward model, fitted on samples of the start policy as the first one orders them",
        called="reward-model-distilled",
        source={"who": common.start, "per_prompt": 2, "prompts": "pairs"},
    )
    rows.add(
        "best-of-n-dpo",
        "best-of-n-local",
        "last.labeller",
        "best-of-N by the implicit reward of DPO (fitted at beta 0.5)",
        cites=ROADS_PAPER,
        before=(*common.first, changed(common.dpo, objective=altered(common.implicit, beta=0.5))),
        labeller=common.dpo.name,
    )


def _heads(rows: _Rows) -> None:
    """Where the reward model reads and what it starts from; and online DPO by each of them.

    The one that reads as the recipe's own is that very stage, under another name of road.
    """
    common = rows.common
    variants: dict[str, tuple[str, str, dict[str, Any]]] = {
        reading: (
            "last.objective.score",
            words,
            {"objective": altered(common.reward_model.objective, score=f"head-{reading}")},
        )
        for reading, words in {
            "last": "read at the last token",
            "mean": "read as the mean over tokens",
            "sum": "read as the sum over tokens",
        }.items()
    }
    variants["scratch"] = ("last.start", "started from the base model", {"start": BASE})
    for variant, (field, words, changes) in variants.items():
        name = f"reward-model-{variant}"
        stage = changed(common.reward_model, **changes)
        if stage != common.reward_model:
            stage = changed(stage, name=name)
        rows.add(
            name,
            "reward-model",
            field,
            f"the global reward model, {words}",
            called=stage.name,
            **changes,
        )
        rows.add(
            f"online-dpo-head-{variant}",
            "online-dpo",
            "last.labeller",
            f"online DPO labelled by a reward model {words}",
            before=(*common.first, stage),
            labeller=stage.name,
        )
