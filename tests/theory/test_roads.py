"""Every road's gradient is that of the objective it names, summed over every sample it could draw.

Two witnesses: the roads' own code, and plain sums over the leaves of a token tree.
"""

from __future__ import annotations

import pytest
import torch

from allroads.exact import averaged, entropy, expectation, kl
from allroads.exact.pairs import Pairs
from allroads.lab.oracle.ground import GROUNDS, PROMPTS, Ground, problem
from allroads.lab.oracle.leaves import leaves_of, token_logprobs
from allroads.lab.oracle.named import NAMED, PICKED
from allroads.lab.oracle.production import gradient, of_batch, of_round, writer_of
from allroads.lab.oracle.table import (
    BETA,
    RECIPE,
    TOLERANCE,
    difference,
    exact_on,
    examine,
    named_gradient,
    roads,
    table,
    trained_stages,
)
from allroads.records import Cost
from allroads.roads.losses import LOSSES
from allroads.roads.picks import PICKS
from allroads.roads.sources import gather
from allroads.roads.stage import Stage
from allroads.types import Completion

ROADS = roads()


def last(name: str, ground: str = "own ends"):
    road = ROADS[name]
    return problem(GROUNDS[ground], road, trained_stages(road)[-1])


def check_table() -> None:
    rows = list(table())
    assert [row.road for row in rows] == list(ROADS)
    assert {row.road: row.difference for row in rows if not row.right} == {}


def test_every_road_gives_the_gradient_that_it_names(monkeypatch: pytest.MonkeyPatch):
    """Where completions have lengths of their own, whole or cut.

    Those of equal length are the most to list and the easiest to get right: every loss is tried on
    them below, every road in the slow test.
    """
    monkeypatch.delitem(GROUNDS, "equal lengths")
    check_table()


@pytest.mark.slow
def test_every_road_gives_the_gradient_that_it_names_on_every_ground():
    check_table()


OF_EACH_LOSS = ("sft", "reward-model", "dpo", "ipo", "slic", "kto", "orpo", "rloo", "rebel", "grpo")


@pytest.mark.parametrize("name", OF_EACH_LOSS)
def test_every_loss_where_completions_are_of_equal_length(name: str):
    assert examine(GROUNDS["equal lengths"], ROADS[name], ROADS[name].last)[0] < TOLERANCE


def test_a_road_of_each_loss_was_tried():
    assert {ROADS[name].last.objective.loss for name in OF_EACH_LOSS} == set(LOSSES)


def test_a_loss_or_pick_without_its_objective_does_not_pass():
    assert NAMED.keys() == LOSSES.keys()
    assert PICKED.keys() == PICKS.keys() - {"group"}


def test_every_stage_is_exact_where_completions_are_whole():
    for road in ROADS.values():
        for stage in trained_stages(road):
            assert {g.name for g in exact_on(stage)} >= {"equal lengths", "own ends"}


@pytest.mark.parametrize("reading", ["head-last", "head-mean", "head-sum"])
@pytest.mark.parametrize("ground", GROUNDS.values(), ids=list(GROUNDS))
def test_reward_models_of_every_reading(ground: Ground, reading: str):
    road = roads(RECIPE.model_copy(update={"reading": reading}))["reward-model"]
    found, followed = examine(ground, road, road.last)
    assert found < TOLERANCE
    assert followed is None


EXTRA = {
    "local reward model without reference": (
        "dpo",
        "cut short",
        {"objective": {"reference": None}},
    ),
    "best of three trained on": (
        "online-dpo",
        "cut short",
        {
            "pick": "winners",
            "source": {"per_prompt": 3},
            "objective": {"loss": "likelihood", "score": "log-prob", "reference": None},
        },
    ),
    "two of another policy": (
        "online-dpo",
        "cut short",
        {"source": {"who": "sft", "refresh": "once"}},
    ),
    "groups of three, the KL for free": (
        "rloo",
        "own ends",
        {"objective": {"kl": "none"}, "source": {"per_prompt": 3}},
    ),
    "groups less their own mean": ("rloo", "own ends", {"objective": {"advantage": "centred"}}),
    "whole completions, standardised": (
        "rloo",
        "own ends",
        {"objective": {"advantage": "standardised"}, "source": {"per_prompt": 3}},
    ),
    "clipped ratios to another policy, by token": (
        "grpo",
        "own ends",
        {"source": {"who": "sft", "refresh": "once"}, "objective": {"normalise": "token"}},
    ),
    "clipped ratios to another policy, led by a critic": (
        "ppo",
        "own ends",
        {
            "source": {"who": "sft", "refresh": "once"},
            "objective": {"critic": {"start": "reward-model", "decay": 0.5, "whiten": False}},
        },
    ),
    "regression on the samples of another policy": (
        "rebel",
        "own ends",
        {"source": {"who": "sft", "refresh": "once"}, "objective": {"eta": 3.0}},
    ),
    "SimPO online": (
        "online-dpo",
        "cut short",
        {
            "objective": {
                "reference": None,
                "over_tokens": "mean",
                "beta_factor": 3.0,
                "margin": 0.5,
            }
        },
    ),
    "undesirable completions weigh more": ("kto", "own ends", {"objective": {"weight": 1.5}}),
    "relabelled by the truth, which ties": ("dpo-relabelled", "own ends", {"labeller": "verifier"}),
}
"""Stages that no named road has: the road to start from, the ground, and what is changed."""


def changed(stage: Stage, changes: dict) -> Stage:
    parts = {
        key: {**getattr(stage, key).model_dump(), **value} if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return Stage.model_validate({**stage.model_dump(), **parts, "schedule": {}})


@pytest.mark.parametrize("name", EXTRA)
def test_stages_of_no_named_road(name: str):
    start, ground, changes = EXTRA[name]
    stage = changed(ROADS[start].last, changes)
    assert examine(GROUNDS[ground], ROADS[start], stage)[0] < TOLERANCE


@pytest.mark.parametrize("name", ["sft", "dpo", "online-dpo", "online-dpo-local", "rloo"])
def test_at_another_temperature(name: str):
    ground = GROUNDS["own ends"]
    hot = Ground(name=ground.name, tree=ground.tree, whole=True, temperature=1.7)
    road = ROADS[name]
    assert examine(hot, road, road.last)[0] < TOLERANCE


def test_micro_batches_change_nothing():
    for name in ("sft", "dpo", "reward-model"):
        this = last(name)
        whole = gradient(this)
        pieces = type(this)(
            this.ground, this.road, this.stage, this.trainee,
            type(this.supplies)(**{**this.supplies.__dict__, "token_budget": 5}),
        )  # fmt: skip
        assert difference(gradient(pieces), whole) < 1e-12


# The listing stands for the drawing.


def test_a_drawn_round_is_one_of_those_listed():
    this = last("rloo")
    material = gather(this.stage, this.supplies, this.trainee, 0, Cost())  # type: ignore[arg-type]
    with torch.no_grad():
        table_PLH = token_logprobs(this.ground, writer_of(this))
    place = {prompt.tokens: i for i, prompt in enumerate(PROMPTS)}
    groups = []
    for unit in material.units:
        p = place[unit.prompt]
        group = [
            Completion(
                prompt=PROMPTS[p],
                tokens=c,
                token_logprobs=tuple(table_PLH[p, this.ground.tree.leaf(c), : len(c)].tolist()),
                stop="task",
            )
            for c in unit.completions
        ]
        # What the sampler says of a completion's probability is what the tree says.
        assert unit.behaviour == pytest.approx([one.logprob for one in group], abs=1e-9)
        groups.append(group)
    assert len(groups) == len(PROMPTS)
    drawn = of_batch(this, list(material.units))
    assert difference(of_round(this, groups), drawn) < 1e-12
    # The order of a group's members decides nothing, so each group is listed once.
    assert difference(of_round(this, [g[::-1] for g in groups]), drawn) < 1e-12
    # Rounds of several prompts are means of rounds of one.
    single = torch.stack([of_round(this, [group]) for group in groups]).mean(dim=0)
    assert difference(single, drawn) < 1e-12


# What is named is what the exact room computes.


@pytest.mark.parametrize("ground", GROUNDS.values(), ids=list(GROUNDS))
def test_likelihood_is_a_forward_kl(ground: Ground):
    this = problem(ground, ROADS["sft"], ROADS["sft"].last)
    leaves, tree = leaves_of(this), ground.tree
    share = leaves.demonstrations.numpy()
    rho = share.sum(axis=1)
    log_data = (
        torch.log(leaves.demonstrations).numpy() - torch.log(torch.tensor(rho)).numpy()[:, None]
    )
    log_pi = leaves.logprob.detach().numpy()
    surprise = rho @ (kl(log_data, log_pi) + entropy(log_data))
    tokens = rho @ expectation(log_data, tree.lengths_L * (share >= 0))
    value = NAMED["likelihood"].value(this.stage, leaves)
    assert value.item() == pytest.approx(surprise / tokens, rel=1e-12)


def test_dpo_is_bradley_terry_on_the_implicit_reward():
    this = last("dpo")
    leaves = leaves_of(this)
    reward = BETA * (leaves.logprob.detach() - leaves.reference).numpy()
    p, better, worse = (i.numpy() for i in leaves.pairs.nonzero(as_tuple=True))
    weight = leaves.pairs.numpy()[p, better, worse]
    pairs = Pairs(
        prompt_M=p, first_M=better, second_M=worse, share_M=1 + 0 * weight, weight_M=weight
    )
    value = NAMED["bradley-terry"].value(this.stage, leaves)
    assert value.item() == pytest.approx(pairs.nll(reward), rel=1e-12)


def test_rloo_climbs_reward_less_kl():
    """A third witness, without autograd: the exact room's objective, a small step either way."""
    this = last("rloo")
    tree, weights = this.ground.tree, list(this.trainee.model.parameters())

    def objective() -> float:
        leaves = leaves_of(this)
        log_pi, log_ref = leaves.logprob.detach().numpy(), leaves.reference.numpy()
        worth = expectation(log_pi, leaves.label.numpy()) - BETA * kl(log_pi, log_ref)
        return averaged(tree, worth)

    torch.manual_seed(0)
    ways = [torch.randn_like(w) for w in weights]
    step = 1e-5

    def moved(by: float) -> float:
        with torch.no_grad():
            for w, way in zip(weights, ways, strict=True):
                w.add_(by * way)
        return objective()

    slope = (moved(step) - moved(-2 * step)) / (2 * step)
    moved(step)
    along = -torch.dot(gradient(this), torch.cat([way.flatten() for way in ways])).item()
    assert along == pytest.approx(slope, rel=1e-6)


def test_rebel_begins_with_four_times_the_policy_gradient():
    """Downhill of E[(lr_x - lr_y - r_x + r_y)^2] where pi is the old pi, the log-ratios being 0:
    2 E[(r_x - r_y) grad(lr_x - lr_y)] = 4 Cov(r, grad lr)."""
    assert difference(gradient(last("rebel")), 4 * gradient(last("rloo"))) < TOLERANCE


def test_picks_lose_only_what_drops_out():
    """Probabilities of pairs and the probability of a dropped round sum to one, by hand.

    With whole completions and no ties a pair of two drops out only when both are the same one.
    """
    this = last("online-dpo")
    leaves = leaves_of(this)
    chance = leaves.writer.exp()
    kept = PICKED["two"](leaves, 2).sum(dim=(1, 2))
    torch.testing.assert_close(kept, 1 - (chance**2).sum(dim=1))
    # Best and worst of two are the two.
    torch.testing.assert_close(PICKED["best-worst"](leaves, 2), PICKED["two"](leaves, 2))
    torch.testing.assert_close(
        PICKED["best-worst"](leaves, 3).sum(dim=(1, 2)), 1 - (chance**3).sum(dim=1)
    )
    torch.testing.assert_close(PICKED["winners"](leaves, 3).sum(dim=1), torch.ones(2).double())


def test_online_dpo_does_not_follow_its_own_samples():
    this = last("online-dpo")
    leaves = leaves_of(this)
    full = named_gradient(this, leaves, held_fixed=False)
    assert difference(gradient(this), full) > 0.1
    # RLOO does: for it the two are the same.
    rloo = last("rloo")
    leaves = leaves_of(rloo)
    both = [named_gradient(rloo, leaves, held_fixed=fixed) for fixed in (True, False)]
    assert difference(*both) == 0
