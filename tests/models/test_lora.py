"""Adapters: nothing at the start, the base shared and untouched, whole after saving."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from allroads.errors import ModelError
from allroads.models import lora
from allroads.models.lora import Lora, add_adapter
from allroads.models.policy import Policy, load_policy
from allroads.models.reward_model import RewardModel, load_reward_model, reward_model_on
from tests.conftest import EOS, tiny_policy
from tests.models.test_policy import ROWS

pytest.importorskip("peft", reason="the package peft is not installed")

CPU = torch.device("cpu")
SIZE = Lora(rank=3, alpha=6.0)


@pytest.fixture
def base(family: str, tmp_path: Path) -> Policy:
    """A frozen base whose folder an adapter can name."""
    made = tiny_policy(family)
    made.model.save_pretrained(tmp_path / "base")
    policy = load_policy(tmp_path / "base", eos_id=EOS, dtype=torch.float32, device=CPU)
    policy.model.requires_grad_(requires_grad=False)
    return policy


def adapted(base: Policy, *, moved: bool = True) -> Policy:
    """The base with an adapter; `moved`: one that changes what the model says."""
    policy = base.twin()
    add_adapter(policy.model, SIZE, seed=1)
    if moved:
        move(policy.model)
    return policy


@torch.no_grad()
def move(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def digest(model: torch.nn.Module) -> str:
    rows = [p.detach().numpy().tobytes() for p in model.parameters()]
    return hashlib.sha256(b"".join(rows)).hexdigest()


def logprobs(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.sequence_logprobs(ROWS)


def scores(model: RewardModel) -> torch.Tensor:
    with torch.no_grad():
        return model.scores(ROWS)


def test_a_fresh_adapter_changes_nothing_and_hangs_on_its_seed(base: Policy):
    first, second, other = (base.twin() for _ in range(3))
    for policy, seed in ((first, 1), (second, 1), (other, 2)):
        torch.manual_seed(len(str(policy)))
        add_adapter(policy.model, SIZE, seed=seed)
        torch.testing.assert_close(logprobs(policy), logprobs(base))
    assert digest(first.model) == digest(second.model) != digest(other.model)


def test_only_the_adapter_is_trained_and_the_base_is_shared(base: Policy):
    before = digest(base.model)
    policy = adapted(base, moved=False)
    trained = {n: p.numel() for n, p in policy.model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    own = {p.data_ptr() for p in base.model.parameters()}
    frozen = [p for p in policy.model.parameters() if not p.requires_grad]
    assert {p.data_ptr() for p in frozen} == own
    policy.sequence_logprobs(ROWS).sum().backward()
    optimiser = torch.optim.AdamW([p for p in policy.model.parameters() if p.requires_grad], 0.1)
    optimiser.step()
    assert digest(base.model) == before
    assert not torch.allclose(logprobs(policy), logprobs(base))


def test_a_twin_of_an_adapted_policy_has_an_adapter_of_its_own(base: Policy):
    policy = adapted(base)
    twin, before = policy.twin(), logprobs(policy)
    assert torch.equal(logprobs(twin), before)
    move(twin.model)
    assert not torch.allclose(logprobs(twin), before)
    assert torch.equal(logprobs(policy), before)


def test_saved_restored_and_loaded_in_plain_transformers(base: Policy, tmp_path: Path):
    policy = adapted(base)
    policy.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("model*"))
    alone = load_policy(tmp_path / "saved", eos_id=EOS, dtype=torch.float32, device=CPU)
    shared = load_policy(tmp_path / "saved", eos_id=EOS, dtype=torch.float32, device=CPU, base=base)
    plain = Policy(AutoModelForCausalLM.from_pretrained(tmp_path / "saved"), EOS)
    for again in (alone, shared, plain):
        assert torch.equal(logprobs(again), logprobs(policy))
    assert any(p.requires_grad for p in shared.model.parameters())


def test_merged_is_a_plain_model_that_says_the_same(base: Policy, tmp_path: Path):
    policy, before = adapted(base), digest(base.model)
    merged = policy.merged()
    assert not any("lora" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(logprobs(Policy(merged, EOS)), logprobs(policy))
    merged.save_pretrained(tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").is_file()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logprobs(Policy(plain, EOS)), logprobs(policy))
    assert digest(base.model) == before


@pytest.mark.parametrize("start", ["base", "adapted"])
def test_a_reward_model_starts_from_its_policy_and_restores_its_head(
    start: str, base: Policy, tmp_path: Path
):
    policy = base if start == "base" else adapted(base)
    model = reward_model_on(policy, reading="last", seed=1, adapter=SIZE)
    # The same backbone and head as when everything is trained.
    whole = reward_model_on(policy, reading="last", seed=1)
    torch.testing.assert_close(scores(model), scores(whole))
    trained = [n for n, p in model.model.named_parameters() if p.requires_grad]
    assert any("score" in name for name in trained)
    assert all("lora_" in name or "score" in name for name in trained)
    move(model.model)
    model.offset = 0.5
    model.save(tmp_path / "saved")
    for given in (None, base):
        again = load_reward_model(tmp_path / "saved", dtype=torch.float32, device=CPU, base=given)
        assert torch.equal(scores(again), scores(model))
    whole = model.merged()
    torch.testing.assert_close(scores(whole), scores(model))
    whole.save(tmp_path / "merged")
    plain = load_reward_model(tmp_path / "merged", dtype=torch.float32, device=CPU)
    torch.testing.assert_close(scores(plain), scores(model))
    # transformers alone, told that there is one label: the head is the trained one.
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", num_labels=1)
    head = theirs.get_submodule("score")
    weight = dict(head.named_parameters())["modules_to_save.default.weight"]
    mine = dict(model.head.named_parameters())["modules_to_save.default.weight"]
    assert torch.equal(weight, mine)


def test_a_half_precision_base_has_a_single_precision_adapter(base: Policy):
    half = Policy(base.model.to(torch.bfloat16), EOS)  # type: ignore[arg-type]
    policy = adapted(half)
    kinds = {p.dtype for p in policy.model.parameters() if p.requires_grad}
    assert kinds == {torch.float32}
    model = reward_model_on(policy, reading="sum", seed=1, adapter=SIZE)
    assert logprobs(policy).dtype == scores(model).dtype == torch.float32
    model.scores(ROWS).sum().backward()


def test_the_same_adapter_gives_the_same_bytes(base: Policy, tmp_path: Path):
    for name in ("one", "two"):
        adapted(base).save(tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_an_adapter_of_another_model_is_refused(tmp_path: Path):
    policy = tiny_policy("llama")
    policy.model.save_pretrained(tmp_path / "base")
    add_adapter(policy.model, SIZE, seed=1)
    policy.model.name_or_path = str(tmp_path / "base")
    policy.save(tmp_path / "saved")
    with pytest.raises(ModelError, match="its adapter does not fit the base model"):
        load_policy(
            tmp_path / "saved",
            eos_id=EOS,
            dtype=torch.float32,
            device=CPU,
            base=tiny_policy("gpt-neox"),
        )


def test_an_adapter_without_a_base_is_refused(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="names no base_model_name_or_path"):
        lora.base_of(tmp_path)
