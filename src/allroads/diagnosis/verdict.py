"""From the evidence to one of five pieces of advice, what carries it, what would change it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from allroads.diagnoses import (
    OFFLINE,
    ONLINE,
    SEARCH,
    Advice,
    Code,
    Coverage,
    Curve,
    Diagnosis,
    Headroom,
    Prediction,
    Reason,
    RoadRow,
)
from allroads.diagnosis.code import code
from allroads.diagnosis.coverage import coverage
from allroads.diagnosis.curves import capacities, curves
from allroads.diagnosis.features import N, features, verifiers
from allroads.diagnosis.headroom import headroom
from allroads.diagnosis.horizon import horizon
from allroads.diagnosis.model import Model, predict
from allroads.diagnosis.noise import noise
from allroads.diagnosis.ratio import ratio
from allroads.evidence import Evidence

COUNTS = 0.03
"""A difference of winning probability below this is none: a road that costs more does not pay."""
NAMES = {SEARCH: f"best-of-{N}", "rloo": "online RL (RLOO)", "online-dpo": "online DPO"}
"""Of roads, in a sentence."""
SURE = 0.8
"""Probability from which a sign is said."""
_STEEP = 0.02
"""Bits a pair that the verifier has to gain from more pairs, to ask for them."""


def diagnose(evidence: Evidence, models: Mapping[str, Mapping[str, Model]]) -> Diagnosis:
    """Everything that the page shows.

    Args:
        evidence: what was measured.
        models: by what they need ('truth', where samples were graded by a verifying program, else
            'labels'), then by road.
    """
    found_curves, found_headroom = curves(evidence), headroom(evidence)
    found_code, found_coverage = code(evidence), coverage(evidence)
    predictions, unpredicted = _predicted(
        evidence, found_code, found_headroom, found_coverage, models
    )
    weighed = _Weighed(evidence, found_curves, found_code, found_headroom, predictions, unpredicted)
    advice = weighed.advice
    return Diagnosis(
        created=evidence.created,
        version=evidence.version,
        revision=evidence.revision,
        command=evidence.command,
        data=evidence.data,
        model=evidence.model,
        pairs=evidence.pairs,
        other_labels=evidence.other_labels,
        advice=advice,
        headline=weighed.headline(advice),
        reasons=weighed.reasons(),
        changes=weighed.changes(advice),
        next_step=weighed.next_step(advice),
        more_pairs=weighed.more_pairs if advice == "collect" else None,
        predictions=predictions,
        lead=weighed.lead,
        unpredicted=unpredicted,
        roads=_roads(evidence, predictions),
        curves=found_curves,
        ratio=ratio(evidence),
        capacities=capacities(evidence),
        code=found_code,
        headroom=found_headroom,
        coverage=found_coverage,
        noise=noise(evidence, found_curves),
        horizon=horizon(evidence),
        missing=(*_missing(evidence, found_headroom), *evidence.left_out),
        cost=evidence.cost,
        start_cost=evidence.start_cost,
    )


def _predicted(
    evidence: Evidence,
    found_code: Code,
    found_headroom: Headroom | None,
    found_coverage: Coverage,
    models: Mapping[str, Mapping[str, Model]],
) -> tuple[dict[str, Prediction], str]:
    """The gains by the best models whose features are there, or why there are none."""
    if not found_code.learned:
        return {}, (
            "neither learner has learned these labels, which says neither that there is a gap nor "
            "that there is none"
        )
    found = features(evidence, found_code, found_headroom, found_coverage)
    graded = found_headroom is not None and found_headroom.grader == "truth"
    for name in ("truth", "labels") if graded else ("labels",):
        roads = models.get(name, {})
        if roads and all(set(model.names) <= set(found) for model in roads.values()):
            known = [road for road in (SEARCH, *ONLINE) if road in roads]
            return {road: predict(roads[road], found) for road in known}, ""
    if not models:
        return {}, "this copy of the library has no model of the gain (allroads lab prediction)"
    return {}, "the evidence has no intervals; it takes two orders of the data at least"


def _missing(evidence: Evidence, found_headroom: Headroom | None) -> list[str]:
    """What would make the prediction better, a sentence each."""
    missing = []
    if evidence.offline is None:
        missing.append("The offline policy has no samples: nothing is compared with its answers.")
    if found_headroom is None or found_headroom.grader != "truth":
        missing.append(
            "No program knows the truth of these answers (--verifier FILE.py would be one): gains "
            "are predicted from labels alone, with a wider interval."
        )
    if found_headroom is not None and not found_headroom.trusted:
        missing.append(
            "The independent scorer is not more often right than a coin: what best-of-N brings is "
            "shown, and used for nothing."
        )
    return missing


@dataclass(frozen=True)
class _Weighed:
    """The evidence, weighed."""

    evidence: Evidence
    curves: tuple[Curve, ...]
    code: Code
    headroom: Headroom | None
    predictions: Mapping[str, Prediction]
    unpredicted: str

    @property
    def advice(self) -> Advice:
        """Written before any gain of search or RLOO was measured: see docs/diagnosis.md."""
        said = self.predictions
        if not said:
            return "cannot tell"
        online, search = self._best(ONLINE), self._best((SEARCH,))
        searching = search is not None and _pays(search)
        if online is not None and _pays(online):
            enough = searching and search is not None and search.gain >= online.gain - COUNTS
            return "best-of-n" if enough else "online"
        if searching:
            return "best-of-n"
        if all(map(_pays_not, said.values())):
            return "offline"
        if self.more_pairs is not None:
            return "collect"
        return "cannot tell"

    def _best(self, roads: Collection[str]) -> Prediction | None:
        found = [one for road, one in self.predictions.items() if road in roads]
        return max(found, key=lambda one: one.gain, default=None)

    @property
    def lead(self) -> str:
        """The road that the advice speaks of: the most promising of those that it is about."""
        advice = self.advice
        own = (SEARCH,) if advice == "best-of-n" else ONLINE if advice == "online" else None
        said = {road: one for road, one in self.predictions.items() if own is None or road in own}
        return max(said, key=lambda road: said[road].gain, default="")

    @property
    def more_pairs(self) -> int | None:
        """The fewest further pairs that would teach the verifier a noticeable amount, roughly."""
        verifier = next(curve for curve in self.curves if curve.learner == "verifier")
        if not verifier.learned:
            return None
        last = [point for point in verifier.points if not point.extrapolated][-1]
        for point in verifier.points:
            if point.extrapolated and last.nll.value - point.nll.value >= _STEEP:
                more = point.count - self.evidence.pairs
                return round(more, 2 - len(str(more)))
        return None

    def headline(self, advice: Advice) -> str:
        """The advice with its numbers."""
        if not self.predictions:
            return f"Cannot tell: {self.unpredicted}."
        gain, road = self.predictions[self.lead], NAMES.get(self.lead, self.lead)
        said = f"{gain.gain:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
        words = {
            "offline": f"Offline likelihood is enough: even {road} is expected to gain",
            "best-of-n": f"A reward model with best-of-N is enough: {road} is expected to gain "
            "over offline likelihood",
            "online": f"Two-stage online RL is expected to gain over offline likelihood: {road}",
            "collect": f"Collect about {self.more_pairs or 0:,} more pairs first: the gain of "
            f"{road} cannot be told from none yet,",
            "cannot tell": f"Cannot tell whether {road} pays over offline likelihood: it gains",
        }[advice]
        return f"{words} {said} (P(win) - 1/2, 90 %)."

    def reasons(self) -> tuple[Reason, ...]:
        """Two or three pieces of evidence: what both learn, and what their choices are worth.

        By a truth it is who of them chooses better that predicts; else the code of the labels does.
        """
        verifier, generator = self.curves
        at = [curve.points for curve in (verifier, generator)]
        last = [[p for p in points if not p.extrapolated][-1] for points in at]
        out = [
            Reason(
                words=f"Fitted to the same pairs, the reward model orders "
                f"{last[0].accuracy.value:.0%} of held-out pairs as labelled, likelihood "
                f"{last[1].accuracy.value:.0%}.",
                evidence="curves",
            )
        ]
        point = None
        if self.headroom is not None and self.headroom.trusted:
            point = verifiers(self.headroom)
        graded = self.headroom is not None and self.headroom.grader == "truth"
        offline = self.headroom.offline if self.headroom is not None and graded else None
        if self.code.learned and offline is not None:
            out.append(
                Reason(
                    words=f"Offline DPO against the start policy: {offline.value:+.2f} (P(win) - "
                    "1/2), by the truth.",
                    evidence="headroom",
                )
            )
        elif self.code.learned:
            more = self.code.difference.value / self.code.coded
            out.append(
                Reason(
                    words=f"Describing the labels costs the generator {abs(more):.3f} bits a pair "
                    f"{'more' if more >= 0 else 'less'} than the verifier.",
                    evidence="code",
                )
            )
        else:
            out.append(
                Reason(words="Neither describes the labels in less than a bit each: not learned.",
                       evidence="code")
            )  # fmt: skip
        if point is not None and point.over_offline is not None:
            out.append(
                Reason(
                    words=f"Best of {N} by the reward model against the offline policy: "
                    f"{point.over_offline.value:+.2f} (P(win) - 1/2), by the "
                    + ("truth." if graded else "independent scorer."),
                    evidence="headroom",
                )
            )
        return tuple(out)

    def changes(self, advice: Advice) -> tuple[str, ...]:
        """What would change the advice."""
        out = []
        if self.predictions:
            lead, road = self.predictions[self.lead], NAMES.get(self.lead, self.lead)
            target = COUNTS if advice in ("offline", "cannot tell", "collect") else 0.0
            for feature in lead.features:
                if not feature.coefficient:
                    continue
                needed = feature.value + (target - lead.gain) / feature.coefficient
                low, high = feature.known
                if low <= needed <= high:
                    out.append(
                        f"With everything else as it is, {feature.name} at {needed:+.3f} instead "
                        f"of {feature.value:+.3f} would put the expected gain of {road} at "
                        f"{target:+.2f} ({feature.name}: {feature.meaning})."
                    )
            if not out:
                out.append(
                    f"None of these numbers would by itself bring the expected gain of {road} to "
                    f"{target:+.2f}, within what the worlds of the study had."
                )
        if self.more_pairs is not None:
            out.append(
                f"About {self.more_pairs:,} more pairs would still teach the reward model "
                "something."
            )
        return tuple(out)

    def next_step(self, advice: Advice) -> str:
        """The cheapest one."""
        if not self.code.learned:
            return (
                "Look at noise and shortcuts below; then label more pairs, or begin with a "
                "stronger base model: from these, neither learner takes up what is preferred."
            )
        return {
            "offline": "Train offline DPO; compare two betas on held-out pairs.",
            "best-of-n": f"Train the reward model and serve the best of {N}; compare it with "
            "offline DPO: allroads compare --roads dpo,best-of-n.",
            "online": "Confirm it at small scale with three seeds: allroads compare --roads "
            f"dpo,best-of-n,{self.lead}.",
            "collect": "Label more pairs of the start policy's own samples, then diagnose again.",
            "cannot tell": "Give more orders (a larger --budget) or a --verifier, or run allroads "
            "compare on a part of the prompts.",
        }[advice]


def _pays(said: Prediction) -> bool:
    return said.positive >= SURE and said.gain >= COUNTS


def _pays_not(said: Prediction) -> bool:
    return said.positive <= 1 - SURE or said.high < COUNTS


def _roads(evidence: Evidence, predictions: Mapping[str, Prediction]) -> tuple[RoadRow, ...]:
    """Offline, search, online: what each is expected to bring, and costs."""
    rows = []
    for road, cost in evidence.roads.items():
        gain = low = high = None
        if road == OFFLINE:
            gain = low = high = 0.0
        elif road in predictions:
            said = predictions[road]
            gain, low, high = said.gain, said.low, said.high
        labels = cost.model_copy(update={"labels": evidence.pairs})
        serving = float(N) if road == SEARCH else 1.0
        rows.append(RoadRow(road=road, gain=gain, low=low, high=high, cost=labels, serving=serving))
    return tuple(rows)
