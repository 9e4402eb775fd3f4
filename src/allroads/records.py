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
    selection: float | None = None
    """The selection scorer's mean score: what chooses the setting."""
    length: Mean
    """Tokens per completion."""
    no_eos: Mean
    """Share of completions cut at the length limit."""
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
