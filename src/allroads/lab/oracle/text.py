"""The oracle's three tables as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from allroads.lab.oracle.biases import Bias, biases
from allroads.lab.oracle.ground import GROUNDS
from allroads.lab.oracle.kl import kl_table
from allroads.lab.oracle.table import Row, table


def road_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Each road as soon as it is examined: how far its gradient is from the one it names."""
    yield "Gradients of the roads against those of the objectives they name (all samples summed)"
    yield f"  {'road':<27}{'stage':<14}{'difference':>10}{'followed':>10}  objective"
    for row in rows:
        followed = "-" if row.followed is None else f"{row.followed:.2f}"
        yield (
            f"  {row.road:<27}{row.stage:<14}{row.difference:>10.0e}{followed:>10}  {row.objective}"
            + ("" if row.right else "  NOT ITS GRADIENT")
        )
    yield "  difference: greatest, as a share of the greatest entry of the named gradient."
    yield "  followed: the same, had the gradient followed how pi's own samples change."
    yield ""


def bias_lines(rows: Iterable[Bias]) -> Iterator[str]:
    """Each known bias: length and angle of the mean gradient against the wanted one."""
    yield "What estimators give on average, against what they estimate (1 and 1 are right)"
    yield f"  {'estimator':<39}{'length':>8}{'cosine':>8}  what it gives"
    for bias in rows:
        yield f"  {bias.name:<39}{bias.length:>8.3f}{bias.cosine:>8.3f}  {bias.found}"
    yield ""


def kl_lines() -> Iterator[str]:
    """The KL estimators: value, bias, and what their gradient on given samples is."""
    yield "Estimators of KL(pi, ref), and their gradient as a loss (nats per completion)"
    yield (
        f"  {'':<5}{'of each':<15}{'mean':>8}{'bias':>9}{'length':>8}{'cosine':>8}"
        "  its gradient is that of"
    )
    for row in kl_table(GROUNDS["own ends"]):
        bias = 0.0 if abs(row.bias) < 1e-12 else row.bias
        yield (
            f"  {row.estimator:<5}{row.place:<15}{row.value:>8.4f}{bias:>9.4f}"
            f"{row.length:>8.3f}{row.cosine:>8.3f}  {row.gradient_of}"
        )
    yield ""


def show(say: Callable[[str], None]) -> bool:
    """Say all three tables line by line; whether every road has the gradient that it names."""
    rows: list[Row] = []

    def noted() -> Iterator[Row]:
        for row in table():
            rows.append(row)
            yield row

    for lines in (road_lines(noted()), bias_lines(biases()), kl_lines()):
        for line in lines:
            say(line)
    return all(row.right for row in rows)
