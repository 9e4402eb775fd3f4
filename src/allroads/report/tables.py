"""The page's tables as plain values: the template only lays them out."""

from __future__ import annotations

from dataclasses import dataclass

from allroads.records import Comparison, LedgerRow, Mean, Point, Results, RewardModelRow
from allroads.report import numbers, reading

KINDS = {
    "global": "global reward model",
    "local": "local reward model",
    "grader": "grader",
    "baseline": "baseline",
    "selection": "selection scorer",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: the figure that counts, what qualifies it below, and a tone for its colour."""

    text: str
    sub: tuple[str, ...] = ()
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A caption, the columns' names, and rows whose first cell names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: tuple[int, ...] = ()
    """Columns that hold words rather than numbers (the first one always does)."""


def measured(mean: Mean | None, usual: str = "", *, sign: bool = False) -> Cell:
    """A mean with its interval, and with its own `n` where that is not the usual one."""
    if mean is None or numbers.finite(mean.value) is None:
        return Cell(text=numbers.NOTHING)
    size = numbers.size_of(mean)
    return Cell(
        text=numbers.value_of(mean, sign=sign),
        sub=_filled(numbers.interval_of(mean, sign=sign), "" if size == usual else size),
    )


def _filled(*notes: str) -> tuple[str, ...]:
    return tuple(note for note in notes if note)


def share(mean: Mean | None, usual: str = "") -> Cell:
    """A share as a percentage."""
    cell = measured(numbers.percent(mean), usual)
    return (
        cell
        if cell.text == numbers.NOTHING
        else Cell(text=f"{cell.text}\N{NO-BREAK SPACE}%", sub=cell.sub)
    )


def difference(comparison: Comparison | None, usual: str = "") -> Cell:
    """A paired difference with its interval and adjusted p."""
    if comparison is None:
        return Cell(text=numbers.NOTHING)
    cell = measured(comparison.difference, usual, sign=True)
    p = numbers.p_value(comparison.p_holm)
    return Cell(text=cell.text, sub=_filled(*cell.sub, p and f"Holm {p}"))


def conclusion(comparison: Comparison | None) -> Cell:
    """The conclusion's word, in its tone."""
    if comparison is None:
        return Cell(text=numbers.NOTHING)
    return Cell(text=comparison.conclusion, tone=comparison.conclusion.replace(" ", "-"))


def usual_size(results: Results) -> str:
    """The number of seeds and prompts behind most of the page's numbers."""
    return numbers.usual_size(point.reward for point in results.points)


def of_roads(results: Results) -> Table:
    """One row per road, at the setting that was selected for it."""
    usual, base = usual_size(results), reading.baseline(results)
    controlled = any(point.controlled for point in results.points)
    single = len(results.seeds) <= 1
    second = ("Second opinion",) if results.metric.check else ()
    rows = []
    for road in reading.roads(results):
        point = reading.chosen(results, road)
        versus = reading.against(results, road, base)
        outside = versus is not None and versus.labeller == "outside"
        name = Cell(text=road, sub=_filled("labelled from outside the data" if outside else ""))
        if road == base:
            name = Cell(text=road, sub=("the baseline",))
        cells = list(_road_cells(point, usual, controlled=controlled))
        if second:
            cells.insert(2, measured(point.check if point else None, usual))
        rows.append((name, *cells, difference(versus, usual)))
        rows[-1] += (Cell(text="baseline") if road == base else conclusion(versus),)
    return Table(
        caption=f"{usual} behind each number unless the cell says otherwise; "
        + ("one seed: no interval." if single else "below each mean, its 95 % interval."),
        columns=(
            "Road",
            "Setting",
            f"{results.metric.name}, held-out",
            *second,
            *(("At equal length",) if controlled else ()),
            "On training prompts",
            "KL from start, nats",
            "Length, tokens",
            "Cut off",
            f"Difference to {base}" if base else "Difference",
            "Conclusion",
        ),
        rows=tuple(rows),
        words=(1, 8 + len(second) + controlled),
    )


def _road_cells(point: Point | None, usual: str, *, controlled: bool) -> tuple[Cell, ...]:
    if point is None:
        return (Cell(text="none was selected"), *(Cell(text=numbers.NOTHING),) * (5 + controlled))
    return (
        Cell(text=reading.setting(point)),
        measured(point.reward, usual),
        *((measured(point.controlled, usual),) if controlled else ()),
        measured(point.reward_train, usual),
        measured(point.kl, usual),
        measured(point.length, usual),
        share(point.no_eos, usual),
    )


def of_comparisons(results: Results) -> Table:
    """Every comparison that was made, whatever its baseline."""
    usual = numbers.usual_size(c.difference for c in results.comparisons)
    kinds = {"data": "the preference data", "outside": "outside", "none": "nobody"}
    return Table(
        caption=f"{usual}; difference in {results.metric.name}, paired by seed and prompt.",
        columns=("Road", "Against", "Labelled by", "Difference", "p", "Margin", "Conclusion"),
        rows=tuple(
            (
                Cell(text=c.road),
                Cell(text=c.baseline),
                Cell(text=kinds[c.labeller]),
                difference(c, usual),
                Cell(text=numbers.p_value(c.p_value)[2:] or numbers.NOTHING),
                Cell(text=numbers.number(c.margin)),
                conclusion(c),
            )
            for c in results.comparisons
        ),
        words=(1, 2, 6),
    )


def of_points(results: Results, points: tuple[Point, ...]) -> Table:
    """The points behind a figure."""
    usual = usual_size(results)
    rows = []
    for point in points:
        marks = (("selected", point.selected), ("best in hindsight", point.oracle))
        bound = numbers.finite(point.kl_bound)
        kl = measured(point.kl, usual)
        kl = Cell(
            text=kl.text,
            sub=_filled(*kl.sub, "" if bound is None else f"at most {numbers.number(bound)}"),
        )
        rows.append(
            (
                Cell(text=point.road),
                Cell(text=reading.setting(point)),
                kl,
                measured(point.reward, usual),
                measured(point.proxy, usual),
                Cell(text=numbers.number(point.selection)),
                Cell(text=", ".join(word for word, on in marks if on)),
            )
        )
    return Table(
        caption=f"{usual} behind each number unless the cell says otherwise.",
        columns=(
            "Road",
            "Setting",
            "KL, nats",
            results.metric.name,
            "Own scorer",
            "Selection score",
            "Mark",
        ),
        rows=tuple(rows),
        words=(1, 6),
    )


def of_reward_models(results: Results) -> Table:
    """How well each scorer predicts held-out preferences, and what it is."""
    rows = results.reward_models
    usual = numbers.usual_size(row.accuracy for row in rows)
    reworded = any(row.paraphrased_accuracy is not None for row in rows)
    caption = f"{usual} unless the cell says otherwise. NLL in nats per pair: 0.693 is a coin."
    if reworded:
        caption += " Paraphrased: the same held-out pairs in other tokens that mean the same."
    return Table(
        caption=caption,
        columns=(
            "Scorer",
            "What it is",
            "Accuracy, held-out",
            *(("Accuracy, paraphrased",) if reworded else ()),
            "Accuracy, training",
            "NLL, held-out",
            *(("NLL, paraphrased",) if reworded else ()),
            "NLL, training",
            "Calibration error",
            "Held-out pairs",
        ),
        rows=tuple(_reward_model_cells(row, usual, reworded=reworded) for row in rows),
        words=(1,),
    )


def _reward_model_cells(row: RewardModelRow, usual: str, *, reworded: bool) -> tuple[Cell, ...]:
    return (
        Cell(text=row.name),
        Cell(text=KINDS[row.kind], sub=_filled(row.description)),
        share(row.accuracy, usual),
        *((share(row.paraphrased_accuracy, usual),) if reworded else ()),
        share(row.train_accuracy, usual),
        measured(row.nll, usual),
        *((measured(row.paraphrased_nll, usual),) if reworded else ()),
        measured(row.train_nll, usual),
        share(row.ece, usual),
        Cell(text=numbers.count(row.pairs)),
    )


def of_bins(results: Results) -> Table:
    """The bins behind the reliability diagram."""
    return Table(
        caption="Pairs grouped by the probability that the scorer gave to the preferred answer.",
        columns=("Scorer", "Predicted", "Observed", "Pairs"),
        rows=tuple(
            (
                Cell(text=row.name),
                Cell(text=numbers.number(bin_.predicted)),
                Cell(text=numbers.number(bin_.observed)),
                Cell(text=numbers.count(bin_.count)),
            )
            for row in results.reward_models
            for bin_ in row.bins
        ),
    )


def of_audit(results: Results) -> Table:
    """What was counted in the data."""
    rows = []
    for row in results.audit:
        total = numbers.finite(row.of)
        part = numbers.finite(row.count)
        ratio = f"{numbers.number(100 * part / total)} %" if total and part is not None else ""
        of = "" if total is None else f"of {numbers.count(total)}"
        rows.append(
            (
                Cell(text=row.what),
                Cell(
                    text=numbers.count(row.count),
                    sub=_filled(" · ".join(filter(None, (of, ratio)))),
                ),
                Cell(text=row.note),
            )
        )
    return Table(
        caption="Counted before any training.",
        columns=("What", "How many", "Note"),
        rows=tuple(rows),
        words=(2,),
    )


def of_ledger(results: Results) -> Table:
    """What each road cost."""
    return Table(
        caption="Per seed, everything that the road needed included (its reward models too).",
        columns=(
            "Road",
            "Labels",
            "Demon­strations",
            "Scored by a model",
            "Scored from outside",
            "Tokens trained",
            "Tokens sampled",
            "FLOP",
            "Time",
            "Peak memory",
            "Per answer",
        ),
        rows=tuple(_ledger_cells(row) for row in results.ledger),
    )


def _ledger_cells(row: LedgerRow) -> tuple[Cell, ...]:
    return (
        Cell(text=row.road),
        Cell(text=numbers.count(row.labels)),
        Cell(text=numbers.count(row.demonstrations)),
        Cell(text=numbers.large(row.scorer_queries)),
        Cell(text=numbers.large(row.outside_queries)),
        Cell(text=numbers.large(row.tokens_trained)),
        Cell(text=numbers.large(row.tokens_sampled)),
        Cell(text=numbers.scientific(row.flops)),
        Cell(text=numbers.duration(row.seconds)),
        Cell(text=numbers.memory(row.peak_memory_mb)),
        Cell(text=numbers.count(row.answers_per_prompt)),
    )


def of_stages(results: Results) -> Table:
    """What each road does, stage by stage."""
    return Table(
        caption="A road is a list of stages; a stage is four choices.",
        columns=(
            "Road",
            "Stage",
            "Starts from",
            "Who writes",
            "Who judges",
            "What is kept",
            "Objective",
        ),
        rows=tuple(
            tuple(Cell(text=text) for text in (s.road, s.stage, s.start, s.source))
            + tuple(Cell(text=text) for text in (s.labeller, s.pick, s.objective))
            for s in results.stages
        ),
        words=(1, 2, 3, 4, 5, 6),
    )
