"""The tables of a diagnosis as plain values: the template only lays them out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from allroads.diagnoses import (
    Capacity,
    Code,
    Coverage,
    Curve,
    Diagnosis,
    Headroom,
    Horizon,
    Noise,
    Prediction,
    RoadRow,
)
from allroads.records import Cost, Mean
from allroads.report import numbers
from allroads.report.diagnosis_words import gain_of
from allroads.report.tables import Cell, Table, measured, share

_FIRM = "\N{NO-BREAK SPACE}"
INTERCEPT = "where the model starts"
"""What the contributions leave of the gain."""


def sized(means: Iterable[Mean | None], said: str) -> tuple[str, str]:
    """The usual size of these means, and a caption that begins with it."""
    usual = numbers.usual_size(mean for mean in means if mean is not None)
    start = f"{usual} behind each number unless the cell says otherwise" if usual else ""
    return usual, ". ".join(filter(None, (start, said)))


def of_roads(rows: Sequence[RoadRow]) -> Table:
    """What each road is expected to gain, and what it costs."""
    return Table(
        caption="Gain over offline likelihood: 0.10 is an answer that is better on 60 of 100 "
        "prompts, ties half. Costs are of one training by the recipe, estimated; the gains of rloo "
        "and online-dpo are of long ones (480 rounds on the worlds that the prediction was fitted "
        "on), which may be more than the recipe's. Answers are what is sampled for each one that "
        "is served.",
        columns=("Road", "Expected gain", "Labels", "Tokens trained", "Tokens sampled", "FLOP",
                 "Time", "Answers sampled"),
        rows=tuple(
            (
                Cell(text=row.road),
                _gain(row.gain, row.low, row.high),
                Cell(text=numbers.count(row.cost.labels)),
                Cell(text=numbers.large(row.cost.tokens_trained)),
                Cell(text=numbers.large(row.cost.tokens_sampled)),
                Cell(text=numbers.scientific(row.cost.flops)),
                Cell(text=numbers.duration(row.cost.seconds)),
                Cell(text=numbers.count(row.serving)),
            )
            for row in rows
        ),
    )  # fmt: skip


def of_gains(rows: Sequence[RoadRow]) -> Table:
    """What each road is expected to gain."""
    return Table(
        caption="Expected gain over offline likelihood, with 90 % intervals.",
        columns=("Road", "Expected gain"),
        rows=tuple((Cell(text=row.road), _gain(row.gain, row.low, row.high)) for row in rows),
    )


def _gain(value: float | None, low: float | None, high: float | None) -> Cell:
    mean = gain_of(value, low, high)
    if mean is None or numbers.finite(mean.value) is None:
        return Cell(text="not known")
    ends = numbers.interval_of(mean, sign=True) if numbers.bounds(mean) else ""
    return Cell(text=numbers.value_of(mean, sign=True), sub=(ends,) if ends else ())


def of_curves(curves: Sequence[Curve]) -> Table:
    """Both learners by the pairs they saw."""
    usual, caption = sized(
        (point.nll for curve in curves for point in curve.points),
        "A seed is one order of the training pairs, with fits of its own. 1 bit a pair is a coin.",
    )
    rows = []
    for curve in curves:
        name = curve.learner if curve.learned else f"{curve.learner}, not learned"
        for point in curve.points:
            further = point.extrapolated
            rows.append(
                (
                    Cell(text=name),
                    Cell(text=numbers.count(point.count)),
                    Cell(text="extrapolated" if further else "measured"),
                    measured(point.nll, usual),
                    Cell(text=numbers.NOTHING) if further else share(point.accuracy, usual),
                    Cell(text=numbers.NOTHING) if further else share(point.calibration, usual),
                )
            )
        ends = (Cell(text=numbers.NOTHING),) * 2
        limit = measured(curve.limit, usual)
        rows.append((Cell(text=name), Cell(text="endless"), Cell(text="limit"), limit, *ends))
    return Table(
        caption=caption,
        columns=("Learner", "Pairs", "Part", "Bits a pair", "Accuracy", "Calibration error"),
        rows=tuple(rows),
        words=(2,),
    )


def of_capacities(rows: Sequence[Capacity]) -> Table:
    """Learners of all capacities on the same pairs."""
    pairs = numbers.count(rows[0].count) if rows else "0"
    usual, caption = sized((row.nll for row in rows), f"Fitted to the same {pairs} pairs.")
    return Table(
        caption=caption,
        columns=("Learner", "What may be trained", "Bits a pair", "Accuracy"),
        rows=tuple(
            (
                Cell(text=row.learner),
                Cell(text=row.capacity),
                measured(row.nll, usual),
                share(row.accuracy, usual),
            )
            for row in rows
        ),
        words=(1,),
    )


def of_code(code: Code) -> Table:
    """The codes, their difference and its parts, and the difference block by block."""
    parts = (
        ("the verifier's code", code.verifier, False),
        ("the generator's code", code.generator, False),
        ("difference", code.difference, True),
        ("misfit", code.misfit, True),
        ("cost of learning: the gap", code.learning, True),
    )
    if not code.learned:
        parts = parts[:2]
    usual, caption = sized(
        (mean for _, mean, _ in parts),
        f"Over {numbers.count(code.coded)} pairs, in bits; a coin needs one a pair."
        + (" Differences are the generator's minus the verifier's." if code.learned else ""),
    )
    rows = [(Cell(text=name), measured(mean, usual, sign=sign)) for name, mean, sign in parts]
    if code.learned:
        rows += [
            (Cell(text=f"the block after {numbers.count(seen)} pairs"),
             measured(mean, usual, sign=True))
            for seen, mean in code.by_block
        ]  # fmt: skip
    return Table(caption=caption, columns=("Part", "Bits"), rows=tuple(rows))


def of_headroom(found: Headroom) -> Table:
    """Best-of-N by both learners."""
    usual, caption = sized(
        (point.over_start for point in found.points),
        "Gains are P(its answer beats the other's), ties half, less 1/2. Own score: what the "
        "learner thinks of its choice, in standard deviations of the samples' scores.",
    )
    rows = [
        (
            Cell(text=f"best of {point.n}"),
            Cell(text=point.by),
            measured(point.kl, usual),
            measured(point.over_start, usual, sign=True),
            measured(point.over_generator, usual, sign=True),
            measured(point.over_offline, usual, sign=True),
            measured(point.proxy, usual, sign=True),
        )
        for point in found.points
    ]
    if found.offline is not None:
        empty = Cell(text=numbers.NOTHING)
        rows.append(
            (
                Cell(text="the offline policy"),
                empty,
                measured(found.offline_kl, usual),
                measured(found.offline, usual, sign=True),
                empty,
                empty,
                empty,
            )
        )
    return Table(
        caption=caption,
        columns=("Answers of", "Chosen by", "KL from start, nats", "Gain over the start",
                 "More than by the generator", "Gain over offline", "Own score"),
        rows=tuple(rows),
        words=(1,),
    )  # fmt: skip


def of_coverage(found: Coverage) -> Table:
    """How likely the preferred answers are, and how soon a good one is sampled."""
    usual, caption = sized((found.chosen, found.own, found.typical), "Under the start policy.")
    facts = [
        (Cell(text="preferred answers, log-probability, nats a token"),
         measured(found.chosen, usual)),
        (Cell(text="own samples, the same"), measured(found.own, usual)),
        (Cell(text="own answers that are less likely than the preferred one"),
         share(found.typical, usual)),
    ]  # fmt: skip
    facts += [
        (Cell(text=f"prompts with a good answer among {numbers.count(k)}"), share(mean, usual))
        for k, mean in found.found
    ]
    return Table(caption=caption, columns=("What", "Value"), rows=tuple(facts))


def of_noise(found: Noise) -> Table:
    """What the labels allow, and who reaches it without reading."""
    ceiling = () if found.ceiling is None else (("highest possible", found.ceiling),)
    agreement = () if found.agreement is None else (("two judgements agree", found.agreement),)
    rows = (
        *ceiling,
        *agreement,
        ("the best learner", found.at_least),
        *((f"shortcut: {name}", mean) for name, mean in found.shortcuts.items()),
    )
    usual, caption = sized((mean for _, mean in rows), "50 % is a coin.")
    return Table(
        caption=caption,
        columns=("Who", "Held-out labels that it orders rightly"),
        rows=tuple((Cell(text=name), share(mean, usual)) for name, mean in rows),
    )


def of_horizon(found: Horizon) -> Table:
    """How long answers are, and when they are decided."""
    usual, caption = sized((found.tokens, found.entropy), "Of the start policy's samples.")
    facts = [
        (Cell(text="tokens"), measured(found.tokens, usual)),
        (Cell(text="end by themselves"), share(found.finished, usual)),
        (Cell(text="entropy of the next token, nats"), measured(found.entropy, usual)),
    ]
    facts += [
        (Cell(text=f"decided after {numbers.number(100 * part)}{_FIRM}% of the tokens"),
         share(mean, usual))
        for part, mean in found.decided
    ]  # fmt: skip
    return Table(caption=caption, columns=("What", "Value"), rows=tuple(facts))


def rest(prediction: Prediction) -> float:
    """What the contributions leave of the gain; 0 where that is rounding."""
    left = prediction.gain - sum(feature.contribution for feature in prediction.features)
    return left if abs(left) > 5e-4 else 0.0


def of_features(prediction: Prediction) -> Table:
    """What the gain is made of."""
    rows = [
        (
            Cell(text=feature.name, sub=(feature.meaning,)),
            _value(feature.value, feature.low, feature.high),
            Cell(
                text=f"{numbers.number(feature.known[0])} to {numbers.number(feature.known[1])}",
                sub=() if inside(feature.value, feature.known) else ("outside",),
            ),
            Cell(text=numbers.number(feature.coefficient)),
            Cell(text=numbers.fixed(feature.contribution, 3, sign=True)),
        )
        for feature in prediction.features
    ]
    empty = Cell(text=numbers.NOTHING)
    if left := rest(prediction):
        start = Cell(text=numbers.fixed(left, 3, sign=True))
        rows.append((Cell(text=INTERCEPT), empty, empty, empty, start))
    total = Cell(text=numbers.fixed(prediction.gain, 3, sign=True))
    rows.append((Cell(text="predicted gain"), empty, empty, empty, total))
    return Table(
        caption="Contributions add up to the gain. Known: the range on the worlds that the model "
        "was fitted on.",
        columns=("Feature", "Value", "Known", "Coefficient", "Contribution"),
        rows=tuple(rows),
    )


def _value(value: float, low: float, high: float) -> Cell:
    return measured(Mean(value=value, low=low, high=high, seeds=0), "0 seeds")


def inside(value: float, known: tuple[float, float]) -> bool:
    """Whether the model has seen such a value."""
    return known[0] <= value <= known[1]


def of_costs(diagnosis: Diagnosis) -> Table:
    """What the diagnosis cost, beside what the roads are estimated to."""
    rows = [
        ("this diagnosis", diagnosis.cost),
        ("the start policy, apart", diagnosis.start_cost),
        *((f"{row.road}, estimated", row.cost) for row in diagnosis.roads),
    ]
    return Table(
        caption="Roads: one training each.",
        columns=("What", "Labels", "Demonstrations", "Tokens trained", "Tokens sampled",
                 "Tokens scored", "FLOP", "Time", "Peak memory"),
        rows=tuple((Cell(text=name), *_cost(cost)) for name, cost in rows),
    )  # fmt: skip


def _cost(cost: Cost) -> tuple[Cell, ...]:
    return (
        Cell(text=numbers.count(cost.labels)),
        Cell(text=numbers.count(cost.demonstrations)),
        Cell(text=numbers.large(cost.tokens_trained)),
        Cell(text=numbers.large(cost.tokens_sampled)),
        Cell(text=numbers.large(cost.tokens_scored)),
        Cell(text=numbers.scientific(cost.flops)),
        Cell(text=numbers.duration(cost.seconds)),
        Cell(text=numbers.memory(cost.peak_memory_mb) if cost.peak_memory_mb else numbers.NOTHING),
    )
