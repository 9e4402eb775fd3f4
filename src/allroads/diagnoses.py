"""What a diagnosis says: the records behind its page and its JSON file."""

from __future__ import annotations

from typing import Literal

from allroads.evidence import Trial
from allroads.records import Cost, Mean, Record

OFFLINE = "dpo"
"""The road of likelihood, which gains are measured against."""
SEARCH = "best-of-n"
"""A reward model, and nothing trained against it."""
ONLINE = ("rloo", "online-dpo")
"""Two stages with online training: reinforcement, and preferences among the policy's samples."""
Advice = Literal["offline", "best-of-n", "online", "collect", "cannot tell"]
"""Offline likelihood is enough; a reward model with best-of-N is enough; two-stage online
reinforcement learning is expected to gain; more pairs first; the evidence does not decide."""


class CurvePoint(Record):
    """A learner fitted to `count` pairs, judged on the held-out pairs at its coding temperature."""

    count: int
    nll: Mean
    """Bits a pair; 1 is a coin."""
    accuracy: Mean
    """Share of held-out pairs that it orders as their labels do; a tie is a half."""
    calibration: Mean
    """Expected calibration error of the probability of the label, in [0, 1]."""
    extrapolated: bool = False


class Curve(Record):
    """How a learner's held-out surprise falls with pairs."""

    learner: Literal["verifier", "generator"]
    points: tuple[CurvePoint, ...]
    """Measured ones, then extrapolated ones (2, 4, 8 times the data; accuracy and calibration are
    those of the last measured point there, with no interval)."""
    limit: Mean
    """Bits a pair that endless data would leave, at this capacity."""
    learned: bool
    """Whether its whole code is shorter than a bit a pair: by its 95 % interval, and by 5.3 bits,
    which labels of coins allow once in 40 times at most."""


class Capacity(Record):
    """A learner of one capacity, fitted to the same pairs as those of others."""

    learner: Literal["verifier", "generator"]
    capacity: str
    count: int
    """Pairs that it was fitted to."""
    nll: Mean
    accuracy: Mean


class Code(Record):
    """The same labels, described in sequence by both learners (prequential code lengths).

    All in bits, over `coded` pairs; means over orders with 95 % intervals over orders and prompts.
    Differences are the generator's minus the verifier's: above 0 where verifying is simpler.
    """

    coded: int
    verifier: Mean
    generator: Mean
    difference: Mean
    misfit: Mean
    """The part of the difference that endless data would leave: pairs times the limits'."""
    learning: Mean
    """The rest, what it costs to learn: the generation-verification gap in bits."""
    by_block: tuple[tuple[int, Mean], ...]
    """(pairs seen before the block, difference within it)."""
    learned: bool
    """Whether at least one of the two learners is learned; otherwise the code says nothing of a
    gap, neither that there is one nor that there is none."""


class HeadroomPoint(Record):
    """Best-of-N of the start policy's samples, by one of the learners."""

    by: Literal["verifier", "generator"]
    n: int
    kl: Mean
    """Nats from the start policy (order statistics of a larger pool, with ties)."""
    over_start: Mean
    """P(its answer beats the start policy's) - 1/2, by `Headroom.grader`."""
    over_offline: Mean | None
    """P(its answer beats the offline policy's) - 1/2; None without that policy."""
    over_generator: Mean | None = None
    """`over_start` minus that of the generator's choice among the same samples; None for the
    generator's own."""
    proxy: Mean
    """What the learner itself thinks of its choice: its score's gain over the mean sample, in
    standard deviations of the samples' scores."""


class Headroom(Record):
    """What search over the start policy's samples would bring."""

    grader: Literal["truth", "independent"]
    grader_accuracy: Mean | None
    """Of the independent grader on held-out labels; None for the truth."""
    trusted: bool
    """Whether the grader may be believed: the truth, or more often right than a coin by its whole
    interval."""
    points: tuple[HeadroomPoint, ...]
    offline: Mean | None
    """The offline policy over the start policy: P(beats) - 1/2."""
    offline_kl: Mean | None
    """Nats from the start policy, of the offline policy's own samples."""
    offline_trials: tuple[Trial, ...] = ()
    """The settings that the offline policy was chosen from, by the independent scorer."""
    bends: int | None
    """The N after which best-of-N by the verifier falls again; None where it does not."""


class Coverage(Record):
    """Whether the start policy writes such answers as are preferred."""

    chosen: Mean
    """Log-probability of the preferred completions, nats a token."""
    own: Mean
    """The same of the policy's own samples."""
    typical: Mean
    """Share of prompts' own samples that are less likely (nats a token) than the preferred
    completion: 0.5 where it might be one of them, near 0 where the policy would never write it."""
    found: tuple[tuple[int, Mean], ...]
    """(k, share of prompts with a good answer among k samples); good is the best tenth of all
    samples' grades, or reward 1 by the truth."""


class Noise(Record):
    """What the labels themselves allow."""

    agreement: Mean | None
    """How often two judgements of the same two completions agree; None without repeats."""
    repeats: int
    """How many pairs of completions were judged more than once."""
    ceiling: Mean | None
    """Highest accuracy that any scorer can have, from the repeats; None without them. The value
    takes all pairs for equally noisy, the most that is possible; the lower end makes no such
    assumption."""
    at_least: Mean
    """The best learner's accuracy: the ceiling is not below it."""
    shortcuts: dict[str, Mean]
    """Held-out accuracy of scorers that do not read for meaning."""


class Horizon(Record):
    """How long answers are, and when they are decided."""

    tokens: Mean
    finished: Mean
    """Share of samples that end by themselves."""
    entropy: Mean
    """Of the next token, nats."""
    decided: tuple[tuple[float, Mean], ...]
    """(share of its tokens, how much of the variance of whole answers' scores the score of that
    prefix explains: the squared rank correlation within prompts, less what chance gives)."""


class Feature(Record):
    """One number that the prediction rests on."""

    name: str
    meaning: str
    value: float
    low: float
    high: float
    """Its own 95 % interval."""
    coefficient: float
    """Gain per unit of the feature."""
    contribution: float
    """What it adds to the predicted gain."""
    known: tuple[float, float]
    """Its range on the worlds that the model was fitted on; outside it the interval is widened."""


class Prediction(Record):
    """Expected gain of a road over offline DPO: P(its answer beats the other) - 1/2, ties half."""

    gain: float
    low: float
    high: float
    """90 % interval: what the worlds scatter about the model, and the features' own errors."""
    positive: float
    """Probability that the gain is above zero."""
    features: tuple[Feature, ...]
    model: str
    """The fitted model in one sentence: on what worlds, with what error."""
    widened: tuple[str, ...] = ()
    """Why the interval is wider than the model's own, a sentence each."""


class RoadRow(Record):
    """A road, what it is expected to gain, and what it costs."""

    road: str
    gain: float | None
    """Over offline likelihood; 0 for itself, None where it cannot be said."""
    low: float | None
    high: float | None
    cost: Cost
    serving: float
    """Completions sampled for one served answer."""


class Reason(Record):
    """One piece of evidence in the verdict."""

    words: str
    evidence: str
    """Which part of the page shows it: 'curves', 'code', 'headroom', 'coverage', 'noise' or
    'horizon'."""


class Diagnosis(Record):
    """Everything that the page shows."""

    created: str
    version: str
    revision: str
    command: str
    data: str
    model: str
    pairs: int
    other_labels: int

    advice: Advice
    headline: str
    """The advice with its numbers, in one sentence."""
    reasons: tuple[Reason, ...]
    """Two or three that carry it."""
    changes: tuple[str, ...]
    """What would change it."""
    next_step: str
    """The cheapest one."""
    more_pairs: int | None
    """How many more pairs, where that is the advice."""
    predictions: dict[str, Prediction]
    """By road: search first, then training online."""
    lead: str
    """The road of them that the advice speaks of; '' where there is none."""
    unpredicted: str = ""
    """Why there is no prediction, as a clause: neither learner has learned anything, say."""
    roads: tuple[RoadRow, ...]

    curves: tuple[Curve, ...]
    ratio: Mean | None
    """Pairs that the generator needs for the verifier's held-out surprise on all pairs, as a
    multiple of those, between the power laws of the mean curves. None where it is 64 or more,
    beyond what can be extrapolated, and where a learner has not learned."""
    capacities: tuple[Capacity, ...]
    code: Code
    headroom: Headroom | None
    coverage: Coverage
    noise: Noise
    horizon: Horizon
    missing: tuple[str, ...]
    """Evidence that is not there and why, a sentence each."""
    cost: Cost
    start_cost: Cost
