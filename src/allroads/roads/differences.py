"""In which fields two roads differ."""

from __future__ import annotations

from allroads.roads.stage import Road


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
