"""What a comparison leaves behind for its report: plain records, read from files, no torch.

`Results` is everything that `report.html` shows; `report.page.render(results)` is a pure function
of it. Every number that is a mean over seeds is a `Mean`, so `n` always stands beside it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value with known fields only."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Mean(Record):
    """A mean over seeds (and prompts), with its 95 % interval where one can be given.

    `low` and `high` are None when there is only one seed.
    """

    value: float
    low: float | None = None
    high: float | None = None
    seeds: int
    prompts: int | None = None


class Metric(Record):
    """What the roads are graded by."""

    name: str
    """For example 'true reward' or 'win rate against the start policy'."""
    unit: str
    """For example 'reward, 0 to 1' or 'share of prompts'."""
    meaning: str
    """One sentence for the reader."""
    source: Literal["truth", "grader"]
    check: str = ""
    """The second opinion in one sentence, where there is one; in the same unit."""


class Point(Record):
    """One road at one setting and one moment of its training, over all seeds."""

    road: str
    knob: str
    """'beta' or 'N'; '' when the road has no setting."""
    value: float | None
    fraction: float
    """Part of the training that is done, in (0, 1]; 1.0 is the last step."""
    kl: Mean
    """Divergence from the start policy, nats per completion."""
    kl_bound: float | None = None
    """Best-of-N only: log N - (N-1)/N, an upper bound."""
    reward: Mean
    """The metric on held-out prompts."""
    reward_train: Mean | None = None
    """The metric on training prompts."""
    controlled: Mean | None = None
    """The win rate that would be left at equal length (see `evaluation.length_control`); None where
    the metric is no win rate, or where length and gain cannot be told apart."""
    proxy: Mean | None = None
    """The score that the road was trained on (its reward model's), in that scorer's units."""
    check: Mean | None = None
    """The second opinion on the same answers, in the metric's unit; None where there is none."""
    selection: float | None = None
    """What chooses the setting: the selection scorer's gain over the start policy, in log-odds,
    less the price of the KL."""
    length: Mean
    """Tokens per completion."""
    no_eos: Mean | None
    """Share of completions cut at the length limit; None where the task itself ends there."""
    selected: bool = False
    """Chosen for its road by the selection scorer."""
    oracle: bool = False
    """Would have been chosen by the metric itself on held-out prompts: never used for a verdict."""


class Bin(Record):
    """One bin of a reliability diagram."""

    predicted: float
    observed: float
    count: int


class RewardModelRow(Record):
    """How well a scorer predicts held-out preferences."""

    name: str
    kind: Literal["global", "local", "grader", "baseline", "selection"]
    description: str
    accuracy: Mean
    nll: Mean | None = None
    """Nats per pair; log 2 = 0.693 is a coin."""
    paraphrased_accuracy: Mean | None = None
    """On the same pairs with both answers in other tokens that mean the same; None where the task
    knows no other tokens."""
    paraphrased_nll: Mean | None = None
    ece: Mean | None = None
    """Expected calibration error, a probability."""
    train_accuracy: Mean | None = None
    train_nll: Mean | None = None
    bins: tuple[Bin, ...] = ()
    pairs: int
    """Held-out pairs it was judged on."""


class Comparison(Record):
    """One road against another, both at their selected settings, on the same prompts and seeds."""

    road: str
    baseline: str
    labeller: Literal["data", "outside", "none"]
    """'data': the road's labeller is a function of the preference data (the paper's question)."""
    difference: Mean
    """metric(road) - metric(baseline), paired by seed and prompt."""
    p_value: float | None
    """Two-sided, unadjusted."""
    p_holm: float | None
    """Adjusted for the number of comparisons on the page."""
    margin: float
    """A difference below this counts as none (equivalence test)."""
    conclusion: Literal["better", "worse", "equivalent", "undecided", "no verdict"]


class Failure(Record):
    """One road at one setting that could not be trained."""

    road: str
    knob: str
    value: float | None
    seeds: tuple[int, ...]
    """Those that failed; the setting is left out with all its seeds."""
    reason: str
    """Of the first of them."""


class Answer(Record):
    """One completion shown in the report."""

    road: str
    text: str
    tokens: int
    finished: bool
    score: float | None
    """The metric of this one completion, where it has one."""


class Sample(Record):
    """One prompt with an answer by every road."""

    prompt: str
    answers: tuple[Answer, ...]


class LedgerRow(Record):
    """What one road cost, summed over everything it needed, per seed."""

    road: str
    labels: int
    """Preference pairs that reached it (its reward models included)."""
    demonstrations: int
    scorer_queries: int
    """Completions scored by a reward model."""
    outside_queries: int
    """Completions scored by a verifier or a judge: new information."""
    tokens_trained: int
    tokens_sampled: int
    flops: float
    """6 x parameters per token trained, 2 x parameters per token sampled or scored."""
    seconds: float
    peak_memory_mb: float
    answers_per_prompt: int
    """Completions that serving one answer costs: 1, or N for best-of-N."""


class AuditRow(Record):
    """One line of the data audit: what was counted, how many, out of how many."""

    what: str
    count: float
    of: float | None = None
    note: str = ""


class Verdict(Record):
    """What the page says first."""

    headline: str
    """One plain sentence."""
    reasons: tuple[str, ...]
    """Two to five further sentences: the numbers behind it, and what limits it."""
    decided: bool
    rule: str
    """The rule, fixed before the run."""


class StageRow(Record):
    """One stage of a road, as the plan prints it."""

    road: str
    stage: str
    start: str
    source: str
    labeller: str
    pick: str
    objective: str


NO_BETTER_THAN_A_COIN = (
    "This judge does not agree with the labels of the data better than a coin: read "
    "nothing into its verdicts."
)
"""Said of a judge whose agreement with the labels does not lie above one half with its interval."""


class JudgeFailure(Record):
    """One way in which a judge gave no verdict: left out of every mean, never a tie."""

    reason: str
    """'unparsable answer', 'time-out', 'HTTP 429', ..."""
    count: int
    """Duels that it spoiled."""
    example: str
    """The first one, in the server's or the model's own words."""


class Duels(Record):
    """What a judge said about pairs of answers, each shown in both orders.

    wins + ties + losses + failures = asked. The winner needs both orders to agree.
    """

    asked: int
    wins: int
    ties: int
    losses: int
    identical: int
    """Ties without asking: both texts are the same."""
    failures: tuple[JudgeFailure, ...]
    share: Mean | None
    """(wins + ties / 2) / judged; None where nothing was judged."""
    disagreement: Mean | None
    """Share of the duels shown to the judge in which its two orders disagree."""
    first: float | None
    """Share of the single verdicts for the answer shown first, ties left out; 0.5 is no bias."""
    cut: int
    """Duels in which a text was longer than the judge's limit."""


class JudgedRoad(Record):
    """A road's answers against the start policy's to the same prompts."""

    road: str
    knob: str
    value: float | None
    duels: Duels
    answers: str
    """Fingerprint of the answers of both, to tell whether the run has changed since."""
    stale: bool = False
    """Whether the run has selected other answers since."""


class Agreement(Record):
    """A judge against the labels of held-out pairs; a win is the chosen answer."""

    duels: Duels
    longer: float | None
    """Share of the judge's decided verdicts for the longer text."""
    longer_people: float | None
    """The same share for the labels, on the same pairs."""


class Judgement(Record):
    """One judging of a run by an outside model."""

    model: str
    served: tuple[str, ...]
    """Names that the server gave to the models that answered."""
    url: str
    created: str
    version: str
    template: str
    template_hash: str
    temperature: float
    max_tokens: int
    max_chars: int
    seeds: tuple[int, ...]
    start: str
    """The road whose answers all others are judged against."""
    prompts: int
    replies: int
    """Of which the verdicts are made; two for each duel."""
    seconds: float | None
    """Per reply, mean."""
    people: Agreement
    roads: tuple[JudgedRoad, ...]

    @property
    def cut(self) -> int:
        """Pairs of answers of which a text was longer than the judge's limit."""
        return self.people.duels.cut + sum(road.duels.cut for road in self.roads)

    @property
    def better_than_a_coin(self) -> bool:
        """Whether its agreement with the labels lies above one half with its whole interval."""
        share = self.people.duels.share
        return share is not None and share.low is not None and share.low > 0.5


class Results(Record):
    """Everything that the page shows."""

    title: str
    command: str
    """The command to run again."""
    created: str
    version: str
    revision: str
    """git revision of allroads, or ''."""
    data: str
    model: str
    device: str
    seeds: tuple[int, ...]
    what_seeds_vary: str
    metric: Metric
    kl_estimator: str
    verdict: Verdict
    comparisons: tuple[Comparison, ...]
    points: tuple[Point, ...]
    reward_models: tuple[RewardModelRow, ...]
    samples: tuple[Sample, ...]
    audit: tuple[AuditRow, ...]
    ledger: tuple[LedgerRow, ...]
    stages: tuple[StageRow, ...]
    failures: tuple[Failure, ...] = ()
    """Settings that could not be trained: shown, never dropped in silence."""
    notes: tuple[str, ...] = ()
    """Anything that was counted along the way: dropped pairs, unfinished samples."""
    labels_withheld: int | None = None
    """Labels that fitted the grader and the selection scorer: the roads did not get them."""
    label_noise_nll: float | None = None
    """Worlds only: the NLL of the labels under the true preference probabilities."""
    judge: Judgement | None = None
    """What an outside model says, where one was asked (`allroads judge`)."""


class Cost(BaseModel):
    """What one job cost; adds up."""

    labels: int = 0
    demonstrations: int = 0
    scorer_queries: int = 0
    outside_queries: int = 0
    tokens_trained: int = 0
    """Tokens that went forward and backward, prompts counted once per row."""
    tokens_sampled: int = 0
    tokens_scored: int = 0
    """Tokens that went forward only: references, reward models."""
    flops: float = 0.0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    """Largest resident memory of the process that ran it."""

    def __add__(self, other: Cost) -> Cost:
        mine, theirs = self.model_dump(), other.model_dump()
        total = {key: mine[key] + theirs[key] for key in mine}
        total["peak_memory_mb"] = max(self.peak_memory_mb, other.peak_memory_mb)
        # Labels are counted once however many stages read them; stages of one road share them.
        total["labels"] = max(self.labels, other.labels)
        total["demonstrations"] = max(self.demonstrations, other.demonstrations)
        return Cost(**total)
