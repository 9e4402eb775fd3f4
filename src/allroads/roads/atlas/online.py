"""Roads whose completions the policy writes itself, or that choose among them."""

from __future__ import annotations

from collections.abc import Iterator

from allroads.roads.atlas.common import ROADS_PAPER, Common, altered, changed
from allroads.roads.choices import SELF, VERIFIER, Critic, Objective, Source
from allroads.roads.stage import Road, Stage


def best_of_n(common: Common) -> Iterator[Road]:
    """Choosing among samples, without training on them and with."""
    serve = Stage(
        name="best-of-n",
        start=common.start,
        source=Source(who=common.start, per_prompt=None),
        labeller="reward-model",
        pick="winners",
        objective=Objective(loss="none"),
    )
    yield common.online(
        "best-of-n",
        "no second training: serve the best of N samples by the reward model",
        "",
        serve,
    )
    local = changed(common.local_rm, objective=altered(common.implicit, beta=0.5))
    yield Road(
        name="best-of-n-local",
        stages=(*common.first, local, changed(serve, labeller="local-rm")),
        summary="best-of-N by the local reward model (fitted at beta 0.5)",
        source=ROADS_PAPER,
    )
    yield common.online(
        "rejection-sampling",
        "likelihood of the best of each group of fresh samples",
        "Dong et al. 2023, arXiv:2304.06767",
        changed(_grouped(common), pick="winners", objective=Objective(loss="likelihood")),
    )


def online_pairs(common: Common) -> Iterator[Road]:
    """DPO and IPO on fresh pairs, and the paper's forms of it."""
    fresh = common.online_dpo
    one_batch = changed(
        fresh,
        source=Source(who=SELF, per_prompt=common.recipe.batch_samples, refresh="once"),
        pick="best-worst",
        schedule=common.recipe.policy,
    )
    from_dpo = {"start": "dpo", "objective": altered(common.implicit, reference="dpo")}
    yield common.online(
        "online-dpo",
        "two fresh samples a prompt, the reward model picks, DPO's loss",
        "Guo et al. 2024, arXiv:2402.04792",
        fresh,
    )
    yield common.online(
        "online-ipo",
        "online DPO's samples, IPO's loss",
        "Calandriello et al. 2024, arXiv:2403.08635",
        changed(fresh, objective=altered(common.averaged, loss="identity")),
    )
    for name, stage, summary in (
        ("online-dpo-from-dpo", fresh, "online DPO, started from (and held near) offline DPO"),
        (
            "online-dpo-batch-from-dpo",
            one_batch,
            "the paper's form of online DPO, started from offline DPO",
        ),
    ):
        last = changed(stage, **from_dpo)
        yield Road(
            name=name,
            stages=(*common.first, common.reward_model, common.dpo, last),
            summary=summary,
            source=ROADS_PAPER,
        )
    yield Road(
        name="online-dpo-batch",
        stages=(*common.first, common.reward_model, one_batch),
        summary="the paper's form: one batch of N samples a prompt, best against worst",
        source=ROADS_PAPER,
    )
    yield Road(
        name="online-dpo-local",
        stages=(*common.first, common.local_rm, changed(fresh, labeller="local-rm")),
        summary="online DPO labelled by the local reward model",
        source=ROADS_PAPER,
    )
    yield Road(
        name="online-dpo-verifier",
        stages=(*common.first, changed(fresh, labeller=VERIFIER)),
        summary="online DPO labelled by the truth: an outside labeller, new information",
    )


def policy_gradients(common: Common) -> Iterator[Road]:
    """Roads that follow the expected reward itself, all on the same groups of samples but REBEL."""
    start, recipe = common.start, common.recipe
    reused = recipe.online.model_copy(update={"epochs": recipe.reuse})
    rloo = _grouped(common)
    gradient = rloo.objective
    clipped = Objective(loss="clipped", reference=start, advantage="standardised", kl="loss")
    yield common.online(
        "rloo",
        "policy gradient on groups, each reward against the mean of the others",
        "Ahmadian et al. 2024, arXiv:2402.14740",
        rloo,
    )
    yield common.online(
        "reinforce",
        "policy gradient, each reward against the mean of the round's others",
        "Williams 1992; Ahmadian et al. 2024, arXiv:2402.14740",
        changed(rloo, objective=altered(gradient, advantage="others")),
    )
    yield common.online(
        "rebel",
        "regression of log-ratios on differences of rewards, two fresh samples a prompt",
        "Gao et al. 2024, arXiv:2404.16767",
        changed(
            common.online_dpo,
            pick="group",
            objective=Objective(loss="rebel", reference=start, kl="reward"),
            schedule=reused,
        ),
    )
    yield common.online(
        "grpo",
        "policy gradient by token, rewards standardised within their group, KL in the loss",
        "Shao et al. 2024, arXiv:2402.03300",
        changed(rloo, objective=altered(clipped, normalise="sequence")),
    )
    yield common.online(
        "dr-grpo",
        "GRPO without its two divisions: by the group's deviation, by the answer's length",
        "Liu et al. 2025, arXiv:2503.20783",
        changed(rloo, objective=altered(clipped, advantage="centred", normalise="constant")),
    )
    critic = Critic(start="reward-model")
    yield common.online(
        "ppo",
        "clipped policy gradient by token, advantages led by a critic, several epochs a round",
        "Schulman et al. 2017, arXiv:1707.06347; Huang et al. 2024, arXiv:2403.17031",
        changed(
            rloo,
            objective=altered(gradient, loss="clipped", advantage="lambda", critic=critic),
            schedule=reused,
        ),
    )


def _grouped(common: Common) -> Stage:
    """Groups of fresh samples a prompt, scored by the reward model."""
    return changed(
        common.online_dpo,
        source=Source(who=SELF, per_prompt=common.recipe.group, refresh="update"),
        pick="group",
        objective=Objective(
            loss="policy-gradient",
            reference=common.start,
            advantage="leave-one-out",
            kl="reward",
        ),
    )
