"""What a round's units know beyond whole completions: the KL's yardstick, and every token."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from allroads.errors import TrainingError
from allroads.judges import CallableLabeller
from allroads.models.states import Rows
from allroads.roads.choices import Critic
from tests.roads.problem import PROMPTS, STAGES, changed, dataset, made_of, tiny_policy
from tests.roads.test_sources import round_of

# What the KL of KTO is measured on ----------------------------------------------------------------


@torch.no_grad()
def test_mismatched_completions_answer_the_next_prompt():
    round_, _ = round_of(STAGES["kto"])
    reference = tiny_policy()
    for i, unit in enumerate(round_.units):
        following = round_.units[(i + 1) % 10]
        assert following.prompt != unit.prompt
        assert unit.mismatched == following.completions
        rows = Rows([unit.prompt] * 2, unit.mismatched)
        expected = reference.sequence_logprobs(rows).tolist()
        assert unit.mismatched_reference == pytest.approx(expected, abs=1e-4)


def test_a_neighbour_with_the_same_prompt_is_passed_over():
    rows = dataset().pairs["train"]
    pairs = [rows[0], rows[6], rows[1]]  # the first two share their prompt
    assert pairs[0].prompt == pairs[1].prompt
    round_, _ = round_of(STAGES["kto"], dataset=made_of(pairs, (), PROMPTS))
    first, third = ((row.chosen, row.rejected) for row in rows[:2])
    assert [unit.mismatched for unit in round_.units] == [third, third, first]


def test_one_prompt_alone_has_nothing_to_measure_the_kl_on():
    rows = dataset().pairs["train"]
    with pytest.raises(TrainingError, match="all of this round have the same prompt; give more"):
        round_of(STAGES["kto"], dataset=made_of([rows[0], rows[6]], (), PROMPTS))


# Units by token -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grpo", "dr-grpo", "ppo"])
@torch.no_grad()
def test_tokens_add_up_to_what_is_known_of_the_whole(name: str):
    stage, policy = STAGES[name], tiny_policy()
    critic = stage.objective.critic is not None
    for unit in round_of(stage)[0].units:
        tokens = unit.tokens
        assert tokens is not None
        assert tokens.reference is not None
        lengths = [len(c) for c in unit.completions]
        for known in (tokens.behaviour, tokens.reference, tokens.advantage, tokens.value):
            assert known is None or [len(one) for one in known] == lengths
        assert unit.behaviour == pytest.approx([sum(one) for one in tokens.behaviour])
        assert unit.reference == pytest.approx([sum(one) for one in tokens.reference])
        each, mask = policy.token_logprobs(Rows([unit.prompt] * len(lengths), unit.completions))
        flat = [x for one in tokens.behaviour for x in one]
        assert flat == pytest.approx(each[mask].tolist(), abs=1e-4)
        assert all((x is not None) == critic for x in (tokens.value, tokens.returns))
        assert (tokens.advantage is None) == (unit.advantage is not None)


def test_advantages_led_by_a_critic_are_whitened_over_the_rounds_tokens():
    round_, _ = round_of(STAGES["ppo"])
    flat = [x for u in round_.units if u.tokens for one in u.tokens.advantage or () for x in one]
    assert sum(flat) / len(flat) == pytest.approx(0, abs=1e-9)
    assert sum(x**2 for x in flat) / len(flat) == pytest.approx(1, abs=1e-6)


def test_the_kl_of_each_token_is_a_reward_of_that_token():
    """At lambda 1 a token's return is the score less what the KL costs from there on."""
    given = {"beta": 0.25, "critic": Critic(decay=1.0, whiten=False)}
    round_, _ = round_of(
        changed("ppo", objective=STAGES["ppo"].objective.model_copy(update=given)),
        reference=partial(tiny_policy, seed=5),
        labeller=CallableLabeller(lambda prompts, _: [2.0] * len(prompts)),
        fixed_length=True,
    )
    for unit in round_.units:
        tokens = unit.tokens
        assert tokens is not None
        assert tokens.reference is not None
        assert tokens.returns is not None
        assert tokens.value is not None
        assert tokens.advantage is not None
        for k in range(len(unit.completions)):
            gaps = [b - r for b, r in zip(tokens.behaviour[k], tokens.reference[k], strict=True)]
            expected = [2.0 - 0.25 * sum(gaps[t:]) for t in range(len(gaps))]
            assert tokens.returns[k] == pytest.approx(expected, abs=1e-9)
            rest = [r - v for r, v in zip(tokens.returns[k], tokens.value[k], strict=True)]
            assert tokens.advantage[k] == pytest.approx(rest, abs=1e-9)


def test_reinforce_has_the_rest_of_the_round_for_a_baseline():
    objective = STAGES["reinforce"].objective.model_copy(update={"kl": "none"})
    round_, _ = round_of(changed("reinforce", objective=objective))
    rewards = [r for unit in round_.units for r in unit.reward or ()]
    advantages = [a for unit in round_.units for a in unit.advantage or ()]
    expected = [r - (sum(rewards) - r) / 11 for r in rewards]
    assert len(rewards) == 12
    assert advantages == pytest.approx(expected, abs=1e-9)


@torch.no_grad()
def test_behaviour_is_at_the_runs_temperature_whatever_the_samples_were_drawn_at():
    """Otherwise the KL of a cooled sampler would be charged to the policy."""
    source = STAGES["rloo"].source.model_copy(update={"temperature": 0.5})
    round_, _ = round_of(changed("rloo", source=source))
    assert "mismatch" not in round_.facts, "two temperatures differ by more than rounding"
    for unit in round_.units:
        rows = Rows([unit.prompt] * 3, unit.completions)
        expected = tiny_policy().sequence_logprobs(rows).tolist()
        assert unit.behaviour == pytest.approx(expected, abs=1e-4)
        assert unit.reference == pytest.approx(expected, abs=1e-4)
