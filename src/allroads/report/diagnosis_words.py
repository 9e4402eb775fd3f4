"""What each piece of evidence of a diagnosis says, in plain sentences; what is absent included."""

from __future__ import annotations

from allroads.diagnoses import Code, Coverage, Diagnosis, Headroom, Horizon, Noise
from allroads.evidence import Trial
from allroads.records import Mean
from allroads.report import numbers

ADVICE = {
    "offline": "offline likelihood is enough",
    "best-of-n": "a reward model with best-of-N is enough",
    "online": "two-stage online RL is expected to gain",
    "collect": "collect more pairs first",
    "cannot tell": "cannot tell",
}
"""The verdicts that there are."""
UNDECIDED = ("collect", "cannot tell")
GAIN = "P(its answer beats the offline answer to the same prompt), ties half, less 1/2"
_IS = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
NOT_LEARNED = (
    "Not learned: neither the verifier nor the generator codes the labels in less than a coin's "
    "bit a pair."
)


def told(mean: Mean | None, *, sign: bool = False) -> str:
    """A value with its interval, for a sentence."""
    if mean is None or numbers.finite(mean.value) is None:
        return "not known"
    ends = numbers.interval_of(mean, sign=sign) if numbers.bounds(mean) else ""
    return f"{numbers.value_of(mean, sign=sign)}{f' ({ends})' if ends else ''}"


def percent(mean: Mean | None) -> str:
    """A share with its interval, for a sentence."""
    if mean is None or numbers.finite(mean.value) is None:
        return "not known"
    hundred = numbers.percent(mean)
    ends = numbers.interval_of(hundred) if numbers.bounds(mean) else ""
    return f"{numbers.value_of(hundred)} %{f' ({ends})' if ends else ''}"


def gain_of(value: float | None, low: float | None, high: float | None) -> Mean | None:
    """A predicted gain, for the functions that show means; exactly known is without interval."""
    if low == high:
        low = high = None
    return None if value is None else Mean(value=value, low=low, high=high, seeds=0)


def prediction(diagnosis: Diagnosis) -> str:
    """The gain that the advice speaks of, and how sure its sign is; or why there is none."""
    found = diagnosis.predictions.get(diagnosis.lead)
    if found is None:
        return f"not predicted: {diagnosis.unpredicted or 'the reason was not kept'}."
    said = told(gain_of(found.gain, found.low, found.high), sign=True)
    sure = numbers.number(100 * found.positive, 2)
    return f"{said}, 90 % interval; above zero with probability {sure} %"


def curves(diagnosis: Diagnosis) -> str:
    """Who has learned, and how many times the pairs the generator needs."""
    if not diagnosis.curves:
        return "No learner was fitted, so that there is no learning curve."
    learned = {curve.learner: curve.learned for curve in diagnosis.curves}
    if not any(learned.values()):
        return f"{NOT_LEARNED} The curves cannot say which of the two is simpler."
    parts = [
        f"Not learned by the {name}: its code of the labels is not shorter than a coin's."
        for name, has in learned.items()
        if not has
    ]
    if diagnosis.ratio is None:
        parts.append(
            "How many pairs the generator would need for the verifier's surprise is beyond what "
            "can be extrapolated."
        )
    else:
        parts.append(
            "To be as little surprised by held-out labels as the verifier on all "
            f"{numbers.count(diagnosis.pairs)} pairs, the generator needs "
            f"{told(diagnosis.ratio)} times as many."
        )
    return " ".join(parts)


def code(diagnosis: Diagnosis) -> str:
    """The difference of the codes and its two parts; or that there is nothing to compare."""
    found = diagnosis.code
    if not found.learned:
        return (
            f"{NOT_LEARNED} Two codes that say nothing are equally long whatever the task is: "
            "their difference is not evidence."
        )
    return (
        f"To describe the labels of {numbers.count(found.coded)} pairs the generator takes "
        f"{told(found.generator)} bits and the verifier {told(found.verifier)}: a difference of "
        f"{told(found.difference, sign=True)}. Of it, {told(found.misfit, sign=True)} is misfit, "
        f"which endless data would leave, and {told(found.learning, sign=True)} is the cost of "
        "learning: the generation-verification gap."
        + ("" if _told_apart(found) else " These pairs cannot tell the two parts from each other.")
    )


def _told_apart(found: Code) -> bool:
    """Whether the interval of the learning cost is not wider than what is split."""
    low, high = found.learning.low, found.learning.high
    return low is not None and high is not None and high - low <= 2 * abs(found.difference.value)


def headroom(found: Headroom | None) -> str:
    """Who graded and whether that may be believed, and where search stops helping."""
    if found is None:
        return "Headroom was not measured: no samples of the start policy were graded."
    if found.grader == "truth":
        who = "Graded by the truth."
    else:
        right = percent(found.grader_accuracy)
        who = f"Graded by an independent reward model, right on {right} of held-out labels."
    if not found.trusted:
        who += (
            " This grader is not trusted: it cannot be told from a coin, so that the heights of "
            "these curves decide nothing."
        )
    if found.offline is None:
        who += " There is no offline policy to compare with."
    else:
        kl = "" if found.offline_kl is None else f" at a KL of {told(found.offline_kl)} nats"
        which = _setting(found.offline_trials)
        who += (
            f" The offline policy{which} gains {told(found.offline, sign=True)} over the start{kl}."
        )
    tried = max((point.n for point in found.points if point.by == "verifier"), default=None)
    if found.bends is not None:
        who += f" Best-of-N by the verifier falls again after N{_IS}{found.bends}."
    elif tried is not None:
        who += f" Best-of-N by the verifier does not fall up to N{_IS}{tried}."
    return who


def _setting(trials: tuple[Trial, ...]) -> str:
    """The offline policy's setting, and what it was chosen from."""
    chosen = next((one for one in trials if one.chosen), None)
    if chosen is None:
        return ""
    when = "" if chosen.fraction == 1 else f" after {chosen.fraction:.0%} of its training"
    rate = "" if chosen.rate == 1 else f" and {chosen.rate:g} of the recipe's learning rate"
    return (
        f" (DPO at beta{_IS}{chosen.beta:g}{rate}{when}, chosen among {len(trials)} settings by "
        "the independent reward model)"
    )


def coverage(found: Coverage) -> str:
    """How likely the preferred answers are to the start policy."""
    return (
        f"The preferred answers have {told(found.chosen)} nats a token under the start policy, its "
        f"own samples {told(found.own)}. A preferred answer is likelier than "
        f"{percent(found.typical)} of the policy's own answers to the prompt: half where it might "
        "be one of them, near none where the policy would never write it."
    )


def noise(found: Noise) -> str:
    """The ceiling, or the bound in its place."""
    best = f"The best learner is right on {percent(found.at_least)} of held-out labels"
    if found.ceiling is None:
        return (
            f"No answers were judged twice, so that the labels' ceiling is not known. {best}: the "
            "ceiling is not below."
        )
    agreed = "" if found.agreement is None else f", which agree in {percent(found.agreement)}"
    return (
        f"From {numbers.count(found.repeats)} pairs of answers that were judged more than once"
        f"{agreed}, no scorer can be right on more than {percent(found.ceiling)} of the labels. "
        f"{best}."
    )


def horizon(found: Horizon) -> str:
    """Length, and how early the answers are decided."""
    said = (
        f"Answers have {told(found.tokens)} tokens, {percent(found.finished)} end by themselves, "
        f"and the next token has an entropy of {told(found.entropy)} nats."
    )
    half = next((mean for part, mean in found.decided if abs(part - 0.5) < 1e-9), None)
    if not found.decided:
        return f"{said} How early they are decided was not measured."
    if half is None:
        return said
    return (
        f"{said} The score of its first half explains {percent(half)} of the variance of a whole "
        "answer's score."
    )
