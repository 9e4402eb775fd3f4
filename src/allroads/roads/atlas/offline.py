"""Roads that train on the data's own completions."""

from __future__ import annotations

from collections.abc import Iterator

from allroads.roads.atlas.common import ROADS_PAPER, Common, altered, changed
from allroads.roads.choices import DATA, SELF, WRITER, Objective, Source
from allroads.roads.stage import Road, Stage


def likelihood(common: Common) -> Iterator[Road]:
    """Likelihood of demonstrations and of chosen completions."""
    after_sft = common.start == "sft"
    if after_sft:
        yield Road(name="sft", stages=(common.sft,), summary="likelihood of the demonstrations")
    chosen = common.sft_chosen
    yield Road(
        name="sft-chosen",
        stages=(common.sft, changed(chosen, start="sft")) if after_sft else (chosen,),
        summary="likelihood of the chosen completions",
    )


def scorers(common: Common) -> Iterator[Road]:
    """The two classes of reward model."""
    yield Road(
        name="reward-model",
        stages=(*common.first, common.reward_model),
        summary="the global reward model: a scalar head over the whole completion",
        purpose="scorer",
        source="Bradley and Terry 1952",
    )
    yield Road(
        name="local-rm",
        stages=(*common.first, common.local_rm),
        summary="the local reward model: a policy's own log-ratio, fitted like the global one",
        purpose="scorer",
        source=ROADS_PAPER,
    )


def offline(common: Common) -> Iterator[Road]:
    """DPO and its kin: one stage on the preference pairs; and SPIN on demonstrations."""
    implicit = common.implicit
    yield common.offline(
        "dpo",
        "offline: Bradley-Terry on the policy's implicit reward",
        "Rafailov et al. 2023, arXiv:2305.18290",
        implicit,
    )
    yield common.offline(
        "ipo",
        "offline: squared distance of the lead from a fixed margin, means over tokens",
        "Azar et al. 2023, arXiv:2310.12036",
        altered(common.averaged, loss="identity"),
    )
    yield common.offline(
        "simpo",
        "offline: Bradley-Terry on the mean log-probability with a margin, no reference",
        "Meng et al. 2024, arXiv:2405.14734",
        altered(common.averaged, reference=None, margin=1.0),
    )
    yield common.offline(
        "kto",
        "offline: each side by itself against the KL, as a gain or a loss",
        "Ethayarajh et al. 2024, arXiv:2402.01306",
        altered(implicit, loss="kahneman-tversky"),
    )
    yield common.offline(
        "slic",
        "offline: hinge on the lead",
        "Zhao et al. 2023, arXiv:2305.10425",
        altered(implicit, loss="hinge", margin=1.0),
    )
    yield common.offline(
        "cdpo",
        "offline: DPO that takes a tenth of the labels to be wrong",
        "Mitchell 2023, A note on DPO with noisy preferences",
        altered(implicit, smoothing=0.1),
    )
    yield common.offline(
        "orpo",
        "offline: likelihood of the chosen and odds against the rejected, no reference",
        "Hong et al. 2024, arXiv:2403.07691",
        Objective(loss="odds-ratio", weight=0.1),
    )
    relabelled = changed(common.dpo, labeller="reward-model", pick="two")
    yield common.online(
        "dpo-relabelled",
        "DPO on the same pairs, ordered by the reward model instead of by their labels",
        ROADS_PAPER,
        relabelled,
    )
    spin = Stage(
        name="spin",
        start=common.start,
        source=Source(who=SELF, refresh="round"),
        labeller=DATA,
        pick="demonstrated",
        objective=altered(implicit, reference=WRITER),
        schedule=common.recipe.policy.model_copy(update={"rounds": common.recipe.iterations}),
    )
    yield Road(
        name="spin",
        stages=(*common.first, spin),
        summary="demonstrations against own samples, DPO's loss, its own past as reference",
        source="Chen et al. 2024, arXiv:2401.01335",
    )
