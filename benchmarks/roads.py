"""The pages of docs/roads: their generated blocks, from the atlas and docs/roads/results.json.

    python benchmarks/roads.py [RUN] [--write]

With RUN, the folder of a finished comparison on the built-in world `routes`, its results are taken
into docs/roads/results.json. Without --write nothing is changed: the pages that would be are
named. A block stands between `<!-- NAME -->` and `<!-- end -->`; the rest of a page is written by
hand. A test compares pages and file, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from allroads.cli import app
from allroads.files import read_json, write_text
from allroads.lab.compare import reopen
from allroads.lab.defaults import ROUTES
from allroads.lab.reader import Moment, Reader
from allroads.lab.results import selected
from allroads.records import Mean, Point, Results
from allroads.roads.atlas import all_controls, atlas
from allroads.roads.choices import DATA, PAIRS
from allroads.roads.losses import COMMON_METRICS, LOSSES, declared
from allroads.roads.stage import Road, Stage

DOCS = Path(__file__).resolve().parents[1] / "docs" / "roads"
INDEX = DOCS / "README.md"
RESULTS = DOCS / "results.json"
BASELINE = "dpo"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
Held = dict[str, Any]
"""What results.json holds."""


# From a run to results.json.


def taken(run: Path) -> Held:
    """The numbers of a finished run that the pages show."""
    manifest, config, settings, plan = reopen(run)
    results = Results.model_validate_json((run / "results.json").read_text(encoding="utf-8"))
    chosen = selected(moments := Reader(run, config, plan).moments())
    ledger = {row.road: row for row in results.ledger}
    against = {row.road: row for row in results.comparisons if row.baseline == BASELINE}
    roads: dict[str, Held] = {}
    for road, moment in chosen.items():
        mine = [point for point in results.points if point.road == road]
        point = next(point for point in mine if point.selected)
        cost = ledger[road].model_dump(exclude={"road", "outside_queries", "peak_memory_mb"})
        roads[road] = {
            "knob": point.knob,
            "value": point.value,
            "fraction": point.fraction,
            "reward": _mean(point.reward),
            "by_seed": _by_seed(moment),
            "kl": _mean(point.kl),
            "length": _round(point.length.value),
            "finished": None if point.no_eos is None else _round(1 - point.no_eos.value),
            "proxy": None if point.proxy is None else _mean(point.proxy),
            "ends": [
                {
                    "value": p.value,
                    "reward": _mean(p.reward),
                    "by_seed": _by_seed(_moment_of(p, moments[road])),
                    "kl": _mean(p.kl),
                }
                for p in mine
                if p.fraction == 1
            ],
            **{name: _round(value) for name, value in cost.items()},
            "logged": _logged(run, moment.cell.last) if point.knob != "N" else [],
        }
        if road in against:
            row = against[road]
            roads[road] |= {
                "difference": _mean(row.difference),
                "p": None if row.p_holm is None else _round(row.p_holm),
                "conclusion": row.conclusion,
            }
    return {
        "run": {
            "command": _command(manifest["command"], run),
            "date": manifest["created"][:10],
            "revision": manifest["revision"],
            "version": manifest["versions"]["allroads"],
            "torch": manifest["versions"]["torch"],
            "model": results.model,
            "seeds": len(results.seeds),
            "prompts": config.eval_prompts,
            "margin": settings.margin,
            "sizes": config.sizes.model_dump(),
            "data_fingerprint": settings.data_fingerprint,
            "model_fingerprint": settings.model_fingerprint,
        },
        "roads": roads,
        "scorers": [
            {
                "name": row.name,
                "kind": row.kind,
                "pairs": row.pairs,
                "accuracy": _mean(row.accuracy),
                "nll": row.nll and _mean(row.nll),
                "ece": row.ece and _mean(row.ece),
                "train_nll": row.train_nll and _mean(row.train_nll),
            }
            for row in results.reward_models
        ],
        "label_nll": _round(results.label_noise_nll or 0.0),
    }


def _round(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _mean(mean: Mean) -> list[float | None]:
    return [None if x is None else _round(x) for x in (mean.value, mean.low, mean.high)]


def _moment_of(point: Point, moments: list[Moment]) -> Moment:
    place = (point.value, point.fraction)
    return next(m for m in moments if (m.cell.value, m.fraction) == place)


def _by_seed(moment: Moment) -> list[float]:
    return [_round(float(one)) for one in moment.metric.mean(axis=1)]


def _logged(run: Path, job: str) -> list[str]:
    path = run / "checkpoints" / job / "metrics.jsonl"
    names: dict[str, None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        names |= dict.fromkeys(json.loads(line))
    return sorted(names.keys() - {"step", "round"})


def _command(command: str, run: Path) -> str:
    """The command without this machine's folders."""
    parts = shlex.split(command)
    if "--out" in parts:
        parts[parts.index("--out") + 1] = "runs/roads"
    return shlex.join(parts).replace(str(run), "runs/roads")


# From the atlas and results.json to blocks.


@cache
def table_of_roads() -> dict[str, str]:
    """What `allroads roads` prints of each road: its line and its stages."""
    printed = CliRunner().invoke(app, ["roads"]).output
    out: dict[str, str] = {}
    for line in printed.splitlines():
        if not line.startswith(" "):
            name = line.split(":")[0]
        out[name] = out.get(name, "") + line + "\n"
    return {name: text for name, text in out.items() if name in rows()}


@cache
def rows() -> dict[str, Road]:
    """The atlas with the schedules of the built-in world."""
    return atlas(recipe=ROUTES.recipe)


def stages(road: Road, held: Held) -> str:
    lines = table_of_roads()[road.name].splitlines()[1:]
    return (
        "```\n"
        + "\n".join(line[4:] for line in lines)
        + f"\n```\n\nA comparison varies {road.knob or 'nothing: the road has no setting'}.\n"
    )


def settings(road: Road, held: Held) -> str:
    stage = road.last
    if not stage.trains:
        return "Nothing is trained in the last stage.\n"
    schedule, objective = stage.schedule, stage.objective
    plan = [
        f"{schedule.batch_size} units a step",
        _many(schedule.epochs, "epoch") + (" a round" if stage.source.sampled else ""),
        *([_many(schedule.rounds, "round")] if stage.source.sampled else []),
        f"learning rate {schedule.learning_rate:g}, {schedule.decay} after "
        f"{schedule.warmup:.0%} warm-up",
        f"weight decay {schedule.weight_decay:g}",
        f"gradient norm at most {schedule.gradient_clip:g}",
    ]
    fields = {
        name: getattr(objective, name)
        for name in LOSSES[objective.loss].reads
        if name != "critic" and (objective.score == "implicit" or name not in _IMPLICIT)
    }
    out = f"Last stage on `routes`: {', '.join(plan)}.\n"
    if fields:
        out += "Loss: " + ", ".join(f"`{_said(n, v)}`" for n, v in fields.items()) + ".\n"
    if objective.critic is not None:
        critic = objective.critic.model_dump().items()
        out += "Critic: " + ", ".join(f"`{_said(n, v)}`" for n, v in critic) + ".\n"
    return out


_IMPLICIT = ("over_tokens", "beta_factor")


def _said(name: str, value: object) -> str:
    return f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {value}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def metrics(road: Road, held: Held) -> str:
    stage = road.last
    if not stage.trains:
        return "Nothing is trained, so nothing is logged.\n"
    common = {name: _plain(COMMON_METRICS[name]) for name in _common(stage)}
    both = {**declared(stage.objective), **common}
    return _table(("metric", "meaning"), ((f"`{n}`", words) for n, words in both.items()))


def _common(stage: Stage) -> list[str]:
    """Names of the common metrics that this stage logs."""
    names = ["loss", "gradient_norm", "learning_rate", "units"]
    if stage.source.sampled:
        names += ["unfinished", "length", "dropped"]
        if stage.labeller != DATA:
            names += ["score", "failed"]
        if LOSSES[stage.objective.loss].takes == "group" and not stage.on_policy:
            names += ["mismatch"]
    elif stage.source.who == PAIRS and stage.pick == "two":
        names += ["turned", "dropped"]
    return [name for name in COMMON_METRICS if name in names]


def _plain(words: str) -> str:
    """Without the remark on which stages log it: the page is of one."""
    return re.sub(r" \((online|relabelled)[^()]*\)$", "", words)


def results(road: Road, held: Held) -> str:
    scorers = [row for row in held["scorers"] if row["name"].split(",")[0] == road.name]
    if road.purpose == "scorer":
        return _of_scorer(scorers, held) if scorers else _absent(road)
    found = held["roads"].get(road.name)
    if found is None:
        return _absent(road)
    lines = [
        ("true reward", _interval(found["reward"], 3)),
        ("by seed", _seeds(found["by_seed"])),
        ("chosen", _setting(found)),
    ]
    if found["fraction"] < 1 or len(found["ends"]) > 1:
        for end in found["ends"]:
            at = f", {found['knob']} {end['value']:g}" if found["knob"] else ""
            how = _interval(end["reward"], 3)
            lines.append(
                (
                    f"after the last step{at}",
                    f"{how}: {_seeds(end['by_seed'])}; KL {end['kl'][0]:.2f}",
                )
            )
    if "difference" in found:
        p = "" if found["p"] is None else f", adjusted p {_p(found['p'])}"
        lines.append(
            ("less dpo", f"{_interval(found['difference'], 3, sign=True)}: "
             f"**{found['conclusion']}**{p}"),
        )  # fmt: skip
    if found["proxy"] is not None:
        lines.append(("what its reward model says of it", _interval(found["proxy"], 2)))
    lines += [
        ("KL from the start, nats an answer", _interval(found["kl"], 2)),
        ("tokens an answer", f"{found['length']:.2f}"),
        ("finished answers", _share(found["finished"])),
        ("pairs, demonstrations", f"{found['labels']:,.0f}, {found['demonstrations']:,.0f}"),
        ("answers scored by a reward model", f"{found['scorer_queries']:,.0f}"),
        (
            "tokens trained, sampled",
            f"{found['tokens_trained']:,.0f}, {found['tokens_sampled']:,.0f}",
        ),
        ("FLOPs, seconds", f"{found['flops']:.2g}, {found['seconds']:.0f}"),
    ]
    if found["answers_per_prompt"] > 1:
        lines.append(("answers drawn for each one served", f"{found['answers_per_prompt']:.0f}"))
    return _table(("measured", "value"), lines) + _local(road, scorers)


def _local(road: Road, scorers: list[Held]) -> str:
    """What the road's policy says of held-out pairs, where it is a reward model too."""
    if not scorers:
        return ""
    row = scorers[0]
    return (
        f"\nAs a local reward model, on {row['pairs']:,} held-out pairs: accuracy "
        f"{_interval(row['accuracy'], 3)}, NLL {_interval(row['nll'], 3)} nats.\n"
    )


def _of_scorer(scorers: list[Held], held: Held) -> str:
    lines = []
    for row in scorers:
        lines += [
            (f"accuracy on {row['pairs']:,} held-out pairs", _interval(row["accuracy"], 3)),
            ("NLL, nats a pair", _interval(row["nll"], 3)),
            ("the same on its own pairs", _interval(row["train_nll"], 3)),
            ("the same by the truth that made the labels", f"{held['label_nll']:.3f}"),
            ("expected calibration error", _interval(row["ece"], 3)),
        ]
    return _table(("measured", "value"), lines)


def _absent(road: Road) -> str:
    names = ",".join(dict.fromkeys([BASELINE, road.name]))
    return (
        "Not in [the run](README.md#the-run). The same run folder grows by it with\n\n"
        f"    allroads compare --world routes --roads {names} --seeds 5 --betas 0.2,0.7 "
        "--out runs/roads\n"
    )


def _setting(found: Held) -> str:
    if found["knob"] == "N":
        return f"N = {found['value']:g}"
    return f"{found['fraction']:.0%} of the training" + (
        f" at beta {found['value']:g}" if found["knob"] else ""
    )


def _interval(mean: list[float | None], digits: int, *, sign: bool = False) -> str:
    value, low, high = mean
    form = f"{'+' if sign else ''}.{digits}f"
    text = format(value, form)
    if low is not None and high is not None and (low, high) != (value, value):
        text += f" [{low:{form}}, {high:{form}}]"
    return text


def _seeds(values: list[float]) -> str:
    return ", ".join(f"{one:.2f}" for one in values)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _table(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    head = list(head)
    cells = ([cell.replace("|", "\\|") for cell in line] for line in body)
    lines = [head, ["---"] * len(head), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def run(held: Held) -> str:
    about = held["run"]
    sizes = about["sizes"]
    return (
        f"    {about['command']}\n\n"
        f"allroads {about['version']} ({about['revision']}), torch {about['torch']}, begun "
        f"{about['date']}. {about['model']}; {about['seeds']} seeds, {about['prompts']} held-out "
        f"prompts; a seed has {sizes['demonstrations']:,} demonstrations, {sizes['pairs']:,} "
        f"pairs, {sizes['selection_pairs']:,} for the selection scorer and "
        f"{sizes['test_pairs']:,} held-out. Fingerprints: data `{about['data_fingerprint']}`, "
        f"model `{about['model_fingerprint']}`.\n"
    )


def table(held: Held) -> str:
    head = (
        *("road", "chosen", "true reward", "after the last step", "less dpo", ""),
        *("KL", "tokens", "finished", "scored", "FLOPs", "seconds"),
    )
    body = []
    for name, road in rows().items():
        found = held["roads"].get(name)
        if found is None:
            if road.purpose == "policy":
                body.append((f"[{name}]({name}.md)", "", "not in the run", *[""] * 9))
            continue
        gap = found.get("difference")
        body.append(
            (
                f"[{name}]({name}.md)",
                f"{found['knob']} {found['value']:g}" if found["knob"] else "",
                _interval(found["reward"], 3),
                ", ".join(f"{end['reward'][0]:.3f}" for end in found["ends"]),
                "" if gap is None else _interval(gap, 3, sign=True),
                found.get("conclusion", ""),
                f"{found['kl'][0]:.2f}",
                f"{found['length']:.1f}",
                _share(found["finished"]),
                f"{found['scorer_queries']:,.0f}",
                f"{found['flops']:.1e}",
                f"{found['seconds']:.0f}",
            )
        )
    return _table(head, body)


def scorers(held: Held) -> str:
    head = ("scorer", "kind", "accuracy", "NLL", "NLL on its own pairs", "calibration error")
    body = [
        (
            row["name"],
            row["kind"],
            _interval(row["accuracy"], 3),
            _interval(row["nll"], 3),
            _interval(row["train_nll"], 3),
            _interval(row["ece"], 3),
        )
        for row in held["scorers"]
    ]
    return _table(head, body) + (
        f"\nThe truth that made the labels has an NLL of {held['label_nll']:.3f}; a coin 0.693.\n"
    )


def summaries(held: Held) -> str:
    body = ((f"[{name}]({name}.md)", road.summary, road.source) for name, road in rows().items())
    return _table(("road", "what it is", "source"), body)


def controls(held: Held) -> str:
    head = ("control", "its neighbour", "the field that differs", "what it is", "source")
    rows = all_controls(recipe=ROUTES.recipe)
    body = (
        (f"`{name}`", _linked(one.neighbour), f"`{one.field}`", one.road.summary, one.road.source)
        for name, one in rows.items()
    )
    return _table(head, body)


def _linked(name: str) -> str:
    """A named road has a page, a control has none."""
    return f"[{name}]({name}.md)" if name in rows() else f"`{name}`"


OF_A_ROAD: dict[str, Callable[[Road, Held], str]] = {
    "stages": stages,
    "settings": settings,
    "metrics": metrics,
    "results": results,
}
OF_THE_INDEX: dict[str, Callable[[Held], str]] = {
    "roads": summaries,
    "controls": controls,
    "run": run,
    "table": table,
    "scorers": scorers,
}


def filled(page: Path, text: str, held: Held) -> str:
    """A page with its blocks written anew.

    Raises:
        ValueError: when a block is missing, or is one too many.
    """
    index = page.name == INDEX.name
    wanted = OF_THE_INDEX if index else OF_A_ROAD
    found = [match[2] for match in BLOCK.finditer(text)]
    if sorted(found) != sorted(wanted):
        raise ValueError(f"{page.name} has the blocks {found}, expected {list(wanted)}")

    def block(match: re.Match[str]) -> str:
        body = wanted[match[2]](held) if index else wanted[match[2]](rows()[page.stem], held)
        return match[1] + body + match[3]

    return BLOCK.sub(block, text)


def pages() -> list[Path]:
    """The page of every road, then the index."""
    return [*(DOCS / f"{name}.md" for name in rows()), INDEX]


def main() -> None:
    """Read the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    held = read_json(RESULTS) if args.run is None else taken(args.run)
    if args.run is not None and args.write:
        lines = [
            f"{json.dumps(key)}: "
            + (
                json.dumps(value, indent=1)
                if key == "run"
                else _by_line(value) if isinstance(value, (dict, list)) else json.dumps(value)
            )
            for key, value in held.items()
        ]  # fmt: skip
        write_text(RESULTS, "{\n" + ",\n".join(lines) + "\n}\n")
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = filled(page, before, held)
        if after != before:
            print(f"{page.name} {'written' if args.write else 'is out of date'}")
            if args.write:
                write_text(page, after)


def _by_line(value: dict[str, Any] | list[Any]) -> str:
    """JSON with one entry a line: changes of the committed file can be read."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(" " + json.dumps(one) for one in value) + "\n]"
    body = ",\n".join(f" {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items())
    return "{\n" + body + "\n}"


if __name__ == "__main__":
    main()
