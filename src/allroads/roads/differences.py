"""In which fields two roads differ, and whether that is one choice and what it entails."""

from __future__ import annotations

from dataclasses import dataclass

from allroads.errors import ConfigError
from allroads.roads.choices import PAIRS
from allroads.roads.stage import Road, Stage, behind

Difference = tuple[str, str, str]
"""(field, in a, in b)."""
LAST = "last"


@dataclass(frozen=True)
class OneField:
    """What two roads differ in, where that is one field.

    Attributes:
        field: one choice of one stage, 'last.source' for example; by its own name where only a part
            of the choice differs, 'last.source.refresh'.
        differences: every line of `differences`.
        entailed: those of them that the field cannot change without, or that mean nothing with it.
    """

    field: str
    differences: tuple[Difference, ...]
    entailed: tuple[Difference, ...]


def differences(a: Road, b: Road) -> list[Difference]:
    """(field, in a, in b) for every field in which two roads' stages differ.

    Stages are matched by name, and the last stages with each other; a stage that only one road has
    is one line.
    """
    left, right = _fields(a), _fields(b)
    out: dict[str, Difference] = {}
    for key in dict.fromkeys([*left, *right]):
        stage = key.split(".")[0]
        alone = [any(k.startswith(stage + ".") for k in side) for side in (left, right)]
        if not all(alone):
            out[stage] = (stage, *("a stage of its own" if has else "-" for has in alone))  # type: ignore[assignment]
        elif left.get(key) != right.get(key):
            out[key] = (key, left.get(key, "-"), right.get(key, "-"))
    return list(out.values())


def one_field(a: Road, b: Road) -> OneField:
    """The one field in which two roads differ.

    A field is one choice of one stage: its start, source, labeller, pick, objective or schedule.
    What it entails is listed and does not count:

    - another labeller: the stages that only it needs; the critic made of it; on the data's pairs
      the pick, which is 'two' when they are ordered anew;
    - another source: how many it writes, the labeller and pick where samples replace what the data
      has labelled, or where what was labelled is replayed; the stages that only it needs; with
      another refresh also how rounds, epochs and updates are counted;
    - another pick: how many samples it picks from;
    - another start: the stages that only it needs, and the reference where that is the start.

    Raises:
        ConfigError: when they differ in nothing, or in more than one field; it names the fields.
    """
    found = differences(a, b)
    roads = f"roads {a.name!r} and {b.name!r}"
    if not found:
        raise ConfigError(f"{roads} differ in nothing; name two that differ in one field")
    for choice in dict.fromkeys(_choice(name) for name, _, _ in found):
        own = [row for row in found if _choice(row[0]) == choice]
        rest = [row for row in found if _choice(row[0]) != choice]
        if all(_entails(choice, own, row[0], a, b) for row in rest):
            # What of the choice itself would be there without the rest.
            led = [row for row in own if row[0] != "last.source.per_prompt"] or own
            extra = [row for row in own if row not in led]
            field = led[0][0] if len(led) == 1 else choice
            return OneField(field, tuple(found), (*extra, *rest))
    names = ", ".join(name for name, _, _ in found)
    raise ConfigError(
        f"{roads} differ in more than one field: {names}; a control differs in one, name a road "
        "that stands between them"
    )


def _choice(name: str) -> str:
    """'last.source.refresh' -> 'last.source'."""
    return ".".join(name.split(".")[:2])


def _entails(choice: str, own: list[Difference], other: str, a: Road, b: Road) -> bool:
    """Whether a change of this choice brings the other field along."""
    stages = (a.last, b.last)
    changed = {name.removeprefix(f"{choice}.") for name, _, _ in own}
    match choice:
        case "last.labeller":
            if other == "last.pick":
                return all(s.source.who == PAIRS for s in stages)
            if other == "last.objective.critic":
                return all(s.critic in (s.labeller, "start") for s in stages)
            return _stands_behind(other, [s.labeller for s in stages], a, b)
        case "last.source":
            if other in ("last.labeller", "last.pick"):
                return "who" in changed and _labelled_otherwise(*stages)
            counted = ("last.schedule.rounds", "last.schedule.epochs", "last.schedule.updates")
            if other in counted:
                return "refresh" in changed
            return _stands_behind(other, [s.source.who for s in stages], a, b)
        case "last.pick":
            return other == "last.source.per_prompt"
        case "last.start":
            if other == "last.objective.reference":
                return all(s.objective.reference in (s.start, "start") for s in stages)
            return _stands_behind(other, [s.start for s in stages], a, b)
    return False


def _labelled_otherwise(one: Stage, other: Stage) -> bool:
    """Whether one is of samples, and the other of what is labelled already."""
    return one.source.sampled != other.source.sampled and "none" in (one.labeller, other.labeller)


def _stands_behind(name: str, heads: list[str], a: Road, b: Road) -> bool:
    """Whether this is a stage that one road alone has, below the stage that its choice names."""
    if "." in name:
        return False
    road, head = (a, heads[0]) if any(s.name == name for s in a.stages[:-1]) else (b, heads[1])
    return name in behind(head, road.stages)


def _fields(road: Road) -> dict[str, str]:
    out: dict[str, str] = {}
    for stage in road.stages:
        label = LAST if stage is road.last else stage.name
        dump = stage.model_dump(exclude={"name"})
        for key, value in dump.items():
            if isinstance(value, dict):
                out |= {f"{label}.{key}.{k}": str(v) for k, v in value.items()}
            else:
                out[f"{label}.{key}"] = str(value)
    return out
