"""Controls that the paper lacks: which single factor carries the gap?"""

from pathlib import Path

from allroads.lab.study.hypotheses.common import GAP, MAIN, is_above, same
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test


def _control(name: str, title: str, claim: str, prediction: str, source: str, *tests: Test):
    return Hypothesis(
        name=name,
        kind="control",
        file=Path(__file__),
        title=title,
        claim=claim,
        prediction=prediction,
        source=source,
        cases=(Case(variant=MAIN, premises=(GAP,), tests=tests),),
    )


HYPOTHESES = (
    _control(
        "relabelled",
        "labels of the reward model, answers of the data",
        "What a reward model adds is the labels that it cleans, not the samples that it judges.",
        "DPO on the same pairs, ordered by the reward model, is as good as online DPO",
        "design of this project",
        same(MAIN, "dpo-relabelled", "online-dpo"),
    ),
    _control(
        "one-shot",
        "one batch of samples",
        "Samples help once; that they are fresh does not matter.",
        "DPO on one batch of the start policy's samples is as good as online DPO",
        "the paper's own form; Tang et al. 2024, arXiv:2405.08448",
        same(MAIN, "dpo-samples-updates", "online-dpo-pair-prompts"),
    ),
    _control(
        "shuffled",
        "the same on-policy data, shuffled",
        "On-policy data helps because of when it is seen, not because of what it is.",
        "DPO on all pairs that online DPO met, in random order, is worse",
        "Tang et al. 2024, arXiv:2405.08448",
        is_above(MAIN, "online-dpo", "dpo-shuffled"),
    ),
    _control(
        "margin",
        "margins as offline",
        "Best-against-worst pairs are easier to learn from; margins carry the gap.",
        "online DPO on pairs with the margins of the offline data is no better than DPO",
        "arXiv:2503.01067 trains on the best and the worst of 25",
        same(MAIN, "online-dpo-margin", "dpo"),
    ),
    _control(
        "cold",
        "log-probabilities at temperature 0.1",
        "Taking log-probabilities at a low temperature is what helps online.",
        "online DPO at 0.1 is better than at 1",
        "the paper's first code",
        is_above(MAIN, "online-dpo-cold", "online-dpo"),
    ),
    _control(
        "local-labeller",
        "samples judged by a local reward model",
        "It is the class of the reward model that matters, not that samples are judged.",
        "online DPO labelled by a local reward model is no better than DPO",
        "theorem 2.2 of arXiv:2503.01067",
        same(MAIN, "online-dpo@local-rm", "dpo"),
    ),
    _control(
        "scratch",
        "a reward model that never saw demonstrations",
        "A reward model needs the start policy's knowledge.",
        "online DPO labelled by a reward model from scratch is worse",
        "design of this project",
        is_above(MAIN, "online-dpo", "online-dpo-head-scratch"),
    ),
    _control(
        "last-token",
        "where the head reads",
        "A head on the last token alone verifies as well as one on every token.",
        "online DPO labelled through either is as good",
        "design of this project",
        same(MAIN, "online-dpo-head-last", "online-dpo"),
    ),
    _control(
        "longer",
        "twice the offline training",
        "Offline DPO is only undertrained.",
        "DPO with twice the epochs is as good as online DPO",
        "DPO (2x) of arXiv:2503.01067: 52.2 % against 56.1 %",
        same(MAIN, "dpo-2x", "online-dpo"),
    ),
    _control(
        "rloo",
        "another online loss",
        "The advantage belongs to sampling, not to DPO's loss.",
        "RLOO is above offline DPO too",
        "design of this project",
        is_above(MAIN, "rloo", "dpo"),
    ),
    _control(
        "ppo",
        "another online loss, with a critic",
        "The advantage belongs to sampling, not to DPO's loss.",
        "PPO is above offline DPO too",
        "design of this project",
        is_above(MAIN, "ppo", "dpo"),
    ),
    _control(
        "outside",
        "labels from outside",
        "New information helps beyond what the pairs hold.",
        "online DPO labelled by the truth is above online DPO",
        "the named case in which information does enter",
        is_above(MAIN, "online-dpo@verifier", "online-dpo"),
    ),
)
