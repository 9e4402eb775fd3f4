"""What the lab's studies leave behind for their page: plain records, no torch."""

from __future__ import annotations

from typing import Literal

from allroads.records import Mean, Record

Outcome = Literal["holds", "fails", "open", "no estimate"]
Conclusion = Literal["supported", "refuted", "undecided", "no test"]


class TestRow(Record):
    """One statistic against what was claimed of it beforehand."""

    __test__ = False

    words: str
    """The statistic, for example 'online-dpo minus dpo on routes'."""
    unit: str
    claim: Literal["above", "below", "within", "at least"]
    delta: float
    """The smallest effect that counts."""
    estimate: Mean | None
    """None where cells are missing."""
    outcome: Outcome
    """Alone, before Holm."""
    p_holds: float | None = None
    p_fails: float | None = None
    detectable: float | None = None
    """The effect that is found with 80 % power at these seeds."""
    problem: str = ""
    """Why there is no estimate."""


class VerdictRow(Record):
    """A hypothesis on one world."""

    hypothesis: str
    kind: Literal["hypothesis", "rival", "control"]
    title: str
    claim: str
    prediction: str
    source: str
    variant: str
    conclusion: Conclusion
    reason: str
    """One sentence with the numbers that carry it."""
    premises: tuple[TestRow, ...]
    tests: tuple[TestRow, ...]
    p_supported: float
    p_refuted: float
    """Both Holm-adjusted over the family."""
    seeds: tuple[int, ...]
    confirmed: str
    """Commit of the registered text; '' for an exploration, which decides nothing."""
    more_seeds: int | None = None
    """Seeds that would decide, where more of them would."""
    paper: str = ""
    """What the paper found, in one sentence."""


class FrontierPoint(Record):
    """An arm at one setting and moment."""

    value: float | None
    fraction: float
    kl: Mean
    """From the start policy, nats per completion."""
    reward: Mean
    chosen: bool


class ArmRow(Record):
    """An arm on one world, at the setting that was tuned for it."""

    variant: str
    arm: str
    setting: str
    """For example 'beta 0.7, rate x2, after 50 %'; chosen on the tuning seeds alone."""
    trials: int
    reward: Mean
    forgone: float
    """Mean reward that the best of all settings had more on the tuning seeds."""
    kl: Mean
    length: Mean
    no_eos: Mean
    outside: bool
    """Labelled from outside: new information."""
    flops: float
    seconds: float
    frontier: tuple[FrontierPoint, ...]
    """Every setting and moment at the tuned learning rate, on the tuning seeds."""


class ContrastRow(Record):
    """Two arms that differ in one named field."""

    variant: str
    arm: str
    neighbour: str
    field: str
    """The field, and what it is in both."""
    difference: Mean


class ScorerRow(Record):
    """A scorer on held-out pairs of one world."""

    variant: str
    scorer: str
    on: str
    """'test', or 'paraphrased'."""
    accuracy: Mean
    nll: Mean
    """Nats a pair."""


class LeadRow(Record):
    """One world: how far the verifier is ahead of likelihood, and what the roads gain over it."""

    variant: str
    lead: Mean
    """Held-out accuracy, the reward model's minus that of offline DPO's own scores."""
    search: Mean
    """True reward, best-of-n's minus offline DPO's."""
    online: Mean
    """True reward, online DPO's minus offline DPO's."""


class DifficultyRow(Record):
    """How much a fixed learner needs on one world; None: more than was tried."""

    variant: str
    pairs: Mean | None
    """Noiseless pairs until the fixed verifier is right as often as stated."""
    demonstrations: Mean | None
    """Perfect demonstrations until the fixed generator succeeds as often as stated."""
    words: str
    """Learners and levels; and what was reached, where it was not enough."""


class EqualsRow(Record):
    """Two equal roads, compared as if they were two."""

    words: str
    draws: int
    claims: int
    bound: float
    """Share of claims at which the check fails, and its false-alarm rate in `words`."""
    passes: bool


class BesideRow(Record):
    """A difference that the paper reports, beside the same difference on a world of ours."""

    words: str
    """The paper's difference, for example 'online DPO from SFT minus DPO'."""
    where: str
    """Its task and model."""
    numbers: str
    """Both sides as they were reported."""
    unit: str
    paper: Mean
    """First minus second side; no interval where the spread is not known."""
    paper_gap: Mean | None
    """The paper's main gap that it is compared with, in the same unit; None: there is none."""
    ours_words: str = ""
    """Our difference; '' where no cell of ours is like it."""
    ours: Mean | None = None
    our_gap: Mean | None = None
    """Our main gap, in the unit of `ours`; None where `ours` is in another."""
    differs: str
    """What is not comparable, in one sentence."""


class Study(Record):
    """Everything that the page of the studies shows."""

    created: str
    version: str
    revision: str
    command: str
    rule: str
    """The rule of all verdicts, fixed before the runs."""
    verdicts: tuple[VerdictRow, ...]
    arms: tuple[ArmRow, ...]
    contrasts: tuple[ContrastRow, ...]
    scorers: tuple[ScorerRow, ...]
    leads: tuple[LeadRow, ...] = ()
    difficulties: tuple[DifficultyRow, ...] = ()
    equals: tuple[EqualsRow, ...] = ()
    paper: tuple[BesideRow, ...] = ()
    left_out: tuple[str, ...] = ()
    """What was asked for and has not been run, in sentences."""
    notes: tuple[str, ...] = ()
