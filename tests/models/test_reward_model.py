"""The scalar head: read where it says, from masks, saved and restored whole."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from allroads.errors import ModelError
from allroads.models.reward_model import load_reward_model, reward_model_on
from allroads.models.states import Rows
from tests.conftest import tiny_policy
from tests.models.test_policy import COMPLETIONS, PROMPTS, ROWS

CPU = torch.device("cpu")


def by_definition(model, reading, prompt, completion):
    """One unpadded row: the head on the backbone's states of the completion's tokens."""
    ids = torch.tensor([[*prompt, *completion]])
    states = model.base_model(input_ids=ids).last_hidden_state[0, len(prompt) :]
    per_token = model.get_submodule("score")(states)[:, 0]
    return {"last": per_token[-1], "mean": per_token.mean(), "sum": per_token.sum()}[reading]


@pytest.mark.parametrize("reading", ["last", "mean", "sum"])
@torch.no_grad()
def test_equals_the_definition(family: str, reading):
    model = reward_model_on(tiny_policy(family), reading=reading, seed=1)
    scores = model.scores(ROWS)
    for b, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        truth = by_definition(model.model, reading, prompt, completion)
        torch.testing.assert_close(scores[b], truth, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_last_reading_is_hugging_faces_own_forward():
    policy = tiny_policy("llama")
    model = reward_model_on(policy, reading="last", seed=1)
    ids = torch.tensor([[3, 4, 5, 6]])  # no pad id inside, so its rule and ours agree
    theirs = model.model(input_ids=ids).logits[0, 0]
    torch.testing.assert_close(model.scores(Rows([(3, 4)], [(5, 6)]))[0], theirs)


@torch.no_grad()
def test_two_answers_that_end_with_pad_equal_eos_differ():
    model = reward_model_on(tiny_policy(), reading="last", seed=1)
    scores = model.scores(Rows([(3,), (3,)], [(5, 0), (6, 0)]))
    assert scores[0] != scores[1]


def test_head_depends_on_the_seed_alone():
    policy = tiny_policy()
    torch.manual_seed(1)
    first = reward_model_on(policy, reading="last", seed=1).head.weight
    torch.manual_seed(2)
    again = reward_model_on(policy, reading="last", seed=1).head.weight
    other = reward_model_on(policy, reading="last", seed=2).head.weight
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_saved_and_restored(tmp_path, family: str):
    model = reward_model_on(tiny_policy(family), reading="sum", seed=1)
    model.offset = 0.25
    model.save(tmp_path)
    again = load_reward_model(tmp_path, dtype=torch.float32, device=CPU)
    # Equal weights; where they lie in memory decides the last digit of a product.
    torch.testing.assert_close(model.scores(ROWS), again.scores(ROWS), atol=1e-6, rtol=1e-6)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(theirs.get_submodule("score").weight, model.head.weight)


def test_a_folder_with_two_labels_is_refused(tmp_path):
    model = reward_model_on(tiny_policy(), reading="last", seed=1).model
    config = type(model.config).from_dict({**model.config.to_dict()})
    config.num_labels = 2
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="num_labels = 1, found 2"):
        load_reward_model(tmp_path, dtype=torch.float32, device=CPU)
