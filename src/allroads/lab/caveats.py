"""What should make a reader doubt the number of a road, in sentences for the report."""

from __future__ import annotations

from allroads import stats
from allroads.lab.reader import Moment
from allroads.lab.selection import SHARE

_HALF = 0.5
"""Of a training."""
_HELD = {"N": "a smaller N", "beta": "larger betas or a lower learning rate"}
_SHORTER = "fewer epochs or a lower learning rate"
"""What keeps a road near the start policy, by its knob; where it has none."""
_SHARED_GAIN = 0.5
"""Share of a gain in truth that the second opinion has to see."""


def caveats(
    moments: dict[str, list[Moment]], chosen: dict[str, Moment], start: str, margin: float
) -> list[str]:
    """All that there are.

    Args:
        moments: every setting and moment of each road.
        chosen: of these the selected one.
        start: the road that ends at the start policy.
        margin: smallest gain in the metric that counts.
    """
    return [
        *_exploitation(chosen, start, margin),
        *_beyond_reach(moments, chosen),
        *_unfinished(moments, chosen),
    ]


def _exploitation(chosen: dict[str, Moment], start: str, margin: float) -> list[str]:
    """A sentence for every road whose gain in truth the second opinion does not share."""
    first, out = chosen[start], []
    for road, m in chosen.items():
        if m.check is None or first.check is None:
            continue
        truth = float(m.metric.mean() - first.metric.mean())
        check = float(m.check.mean() - first.check.mean())
        if truth > margin and check < _SHARED_GAIN * truth:
            out.append(
                f"{road}: the truth rises by {truth:.2f} over {start}, the second opinion by "
                f"{check:+.2f}, less than half as much: the road has found what one classifier "
                "likes rather than what both call good"
            )
    return out


def _beyond_reach(moments: dict[str, list[Moment]], chosen: dict[str, Moment]) -> list[str]:
    """A sentence for every road of which no setting lies where settings are selected from."""
    out = []
    for road, nearest in chosen.items():
        if nearest.preference[0]:
            continue
        out.append(
            f"{road}: none of {len(moments[road])} settings and moments lies within {SHARE:.0%} of "
            "the start policy's entropy, where the selection scorer can be believed; the nearest, "
            f"at {float(nearest.kl.mean()):.2f} nats, was taken. What the road is worth when it is "
            f"held nearer, this run does not say: give it {_HELD.get(nearest.cell.knob, _SHORTER)}"
        )
    return out


def _unfinished(moments: dict[str, list[Moment]], chosen: dict[str, Moment]) -> list[str]:
    """A sentence for every road that is chosen at its end and was still gaining until then.

    Surely so: the 95 % interval of what its second half brought, from the last moment looked at in
    the first one, lies above 0. A shorter stretch would say little: the learning rate falls to 0.
    """
    out = []
    for road, end in chosen.items():
        before = [m for m in moments[road] if m.cell == end.cell and m.fraction <= _HALF]
        if end.fraction < 1 or not before:
            continue
        last = max(before, key=lambda m: m.fraction)
        brought = stats.paired_difference(end.crossed(end.metric), last.crossed(last.metric))
        low, high = brought.estimate.low, brought.estimate.high
        if low is not None and low > 0:
            out.append(
                f"{road} was not done: from {last.fraction:.0%} of its training to its end it "
                f"still gained {brought.estimate.value:.3f} [{low:.3f}, {high:.3f}]. "
                "What it is worth when it is done, this run does not say: give it more rounds or "
                "epochs"
            )
    return out
