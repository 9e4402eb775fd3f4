"""The figures of the reward models: do they order held-out pairs rightly, and do they know it?"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter, MultipleLocator

from allroads.records import Bin, Results, RewardModelRow
from allroads.report import ink, numbers, tables
from allroads.report.figures import side_bars
from allroads.report.ink import Picture, Sheet


@ink.styled
def accuracy(results: Results) -> Picture | None:
    """Accuracy on held-out pairs with its interval, the NLL beside it. None without scorers."""
    rows = [r for r in results.reward_models if numbers.finite(r.accuracy.value) is not None]
    if not rows:
        return None
    sheet = Sheet("accuracy", 76 + 42 * len(rows))
    top = sheet.heading(16, "share of held-out pairs ordered rightly", lines=1)
    axes = sheet.axes(top=top, bottom=50, left=20, right=24)
    low = min(0.5, *(_low(row) - 0.03 for row in rows), 0.5)
    axes.set_xlim(max(low, -0.02), 1.0)
    axes.grid(visible=False)
    axes.axvline(0.5, color=ink.SOFT, linewidth=1)
    for k, row in enumerate(rows):
        value, across = row.accuracy.value, axes.get_yaxis_transform()
        axes.barh(k, value - 0.5, left=0.5, height=0.2, color=ink.colour(k), alpha=0.55)
        axes.errorbar(value, k, xerr=side_bars(row.accuracy), fmt="o", color=ink.colour(k), lw=2)
        nll = f", NLL {numbers.value_of(row.nll)}" if row.nll else ""
        share = numbers.value_of(numbers.percent(row.accuracy))
        axes.text(0, k - 0.22, sheet.word(row.name, 28), transform=across, va="bottom")
        axes.text(
            1, k - 0.22, sheet.word(f"{share} %{nll}"), transform=across, va="bottom", ha="right"
        )
    axes.set_ylim(len(rows) - 0.55, -0.8)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MultipleLocator(0.1))
    axes.xaxis.set_major_formatter(FuncFormatter(_percent_tick))
    axes.set_xlabel("accuracy (50 % is a coin)")
    said = "; ".join(
        f"{r.name} {numbers.value_of(numbers.percent(r.accuracy))} % "
        f"({numbers.interval_of(numbers.percent(r.accuracy))})"
        for r in rows
    )
    return Picture(
        name="accuracy",
        title="Who predicts the preferences of held-out pairs",
        svg=sheet.svg(f"Accuracy on held-out pairs: {said}."),
        reading="Bars start at 50 %, where a coin would stand, and end at the accuracy; the line "
        f"across is its 95 % interval{_caveat(results)}. NLL, in nats per pair, also asks "
        "whether the scorer's confidence is earned: less is better, 0.693 is a coin.",
        keys=(),
        table=tables.of_reward_models(results),
    )


@ink.styled
def reliability(results: Results) -> Picture | None:
    """Predicted against observed preference, a dot per bin. None where no scorer has bins."""
    rows = [r for r in results.reward_models if r.bins]
    if not rows:
        return None
    sheet = Sheet("reliability", 345)
    top = sheet.heading(16, "share of pairs where that answer was preferred", lines=1)
    axes = sheet.axes(top=top, bottom=46, left=50, right=20)
    axes.plot([0, 1], [0, 1], color=ink.SOFT, linewidth=1)
    for row in rows:
        index = results.reward_models.index(row)
        bins = [b for b in row.bins if b.count and _drawable(b)]
        bins = sorted(bins, key=lambda b: b.predicted)
        xs, ys = [b.predicted for b in bins], [b.observed for b in bins]
        axes.plot(xs, ys, color=ink.colour(index), linestyle=ink.dash(index), linewidth=1.6)
        most = max((b.count for b in bins), default=1)
        axes.scatter(
            xs,
            ys,
            s=[10 + 60 * b.count / most for b in bins],
            marker=ink.marker(index),
            color=ink.colour(index),
            linewidths=0,
            zorder=3,
        )
    low = _corner(rows)
    axes.set_xlim(low, 1.02)
    axes.set_ylim(low, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(0.1 if low > 0.3 else 0.2))
        axis.set_major_formatter(FuncFormatter(_percent_tick))
    axes.set_xlabel("probability that the scorer gives to an answer")
    said = "; ".join(
        f"{r.name} calibration error {numbers.value_of(numbers.percent(r.ece))} %"
        for r in rows
        if r.ece
    )
    return Picture(
        name="reliability",
        title="Whether their confidence is earned",
        svg=sheet.svg(f"Predicted against observed preference in bins. {said}."),
        reading="On the diagonal, answers that the scorer gives 70 % are preferred 70 % of the "
        "time. A line flatter than the diagonal is too sure of itself. Larger dots hold more "
        "pairs.",
        keys=tuple(ink.series_key(results.reward_models.index(r), r.name) for r in rows),
        table=tables.of_bins(results),
    )


def _caveat(results: Results) -> str:
    return " (one seed: no interval)" if len(results.seeds) <= 1 else ""


def _drawable(bin_: Bin) -> bool:
    return numbers.finite(bin_.predicted + bin_.observed) is not None


def _low(row: RewardModelRow) -> float:
    ends = numbers.bounds(row.accuracy)
    return min(row.accuracy.value, ends[0] if ends else row.accuracy.value)


def _corner(rows: Sequence[RewardModelRow]) -> float:
    """Where the diagram's axes begin: at a half when every bin lies above it."""
    values = [v for r in rows for b in r.bins for v in (b.predicted, b.observed)]
    low = min((v for v in values if numbers.finite(v) is not None), default=0.0)
    return -0.02 if low < 0.4 else 0.38


def _percent_tick(value: float, _position: int = 0) -> str:
    return f"{numbers.number(100 * value)} %"
