"""A road with another labeller: `rloo@verifier` is rloo whose samples a verifier scores."""

from __future__ import annotations

from collections.abc import Mapping

from allroads.errors import ConfigError, nearest
from allroads.roads.choices import DATA, DEMONSTRATIONS, JUDGE, VERIFIER
from allroads.roads.stage import Road, Stage, behind

AT = "@"
REWARD_MODEL, LOCAL_RM = "reward-model", "local-rm"
LABELLERS = (REWARD_MODEL, LOCAL_RM, VERIFIER, JUDGE)
"""What may stand behind the @."""


def named(name: str, table: Mapping[str, Road]) -> Road:
    """A row of the table, or ROAD@LABELLER: a row with another labeller.

    Raises:
        ConfigError: for an unknown road or labeller, with the nearest valid one; and as
            `with_labeller`.
    """
    if name in table:
        return table[name]
    road, _, labeller = name.partition(AT)
    if road not in table:
        of = f" (of {name!r})" if road != name else ""
        raise ConfigError(f"road {road!r}{of} is unknown: {nearest(road, table)}")
    return with_labeller(table[road], labeller, table)


def with_labeller(road: Road, labeller: str, table: Mapping[str, Road]) -> Road:
    """The same road, its last stage's samples scored by another labeller.

    Stages that only the old labeller needed drop out; those of a reward model that the road has
    not got yet come in, as the table has them.

    Args:
        road: one that ends in sampled completions; it need not be of the table.
        labeller: one of `LABELLERS`.
        table: the atlas that reward models are taken from.

    Raises:
        ConfigError: for another labeller, or a road whose last stage has none to replace.
    """
    name, last = f"{road.name}{AT}{labeller}", road.last
    if labeller not in LABELLERS:
        raise ConfigError(
            f"road {name!r}: labeller {labeller!r} is unknown: {nearest(labeller, LABELLERS)}"
        )
    if last.labeller in ("none", DATA):
        raise ConfigError(
            f"road {name!r}: {road.name!r} has no labeller to replace, its last stage "
            f"{last.name!r} learns from {_taught_by(last)}; ask for a road whose samples are "
            f"scored, for example online-dpo{AT}{labeller}"
        )
    freed = behind(last.labeller, road.stages)
    relabelled = last.model_copy(update={"labeller": labeller})
    if last.critic == last.labeller != labeller:
        assert last.objective.critic is not None
        critic = last.objective.critic.model_copy(update={"start": "start"})
        objective = last.objective.model_copy(update={"critic": critic})
        relabelled = relabelled.model_copy(update={"objective": objective})
    before = [*road.stages[:-1], *_lacking(road, labeller, table)]
    needed = {stage for need in relabelled.needs() for stage in behind(need, before)}
    kept = [stage for stage in before if stage.name in needed or stage.name not in freed]
    return Road(
        name=name,
        stages=(*kept, Stage.model_validate(dict(relabelled))),
        summary=f"{road.summary} (labeller: {labeller})".strip(),
        source=road.source,
        purpose=road.purpose,
    )


def _taught_by(stage: Stage) -> str:
    return DEMONSTRATIONS if stage.pick == "demonstrated" else stage.source.words


def _lacking(road: Road, labeller: str, table: Mapping[str, Road]) -> list[Stage]:
    """The stages of a learnt labeller that the road has not got."""
    if labeller not in (REWARD_MODEL, LOCAL_RM):
        return []
    # Best-of-N varies N, so the local reward model that it uses has its beta fixed.
    fixed = labeller == LOCAL_RM and road.knob == "N"
    donor = table["best-of-n-local" if fixed else labeller]
    wanted = behind(labeller, donor.stages)
    known = {stage.name for stage in road.stages}
    return [stage for stage in donor.stages if stage.name in wanted - known]
