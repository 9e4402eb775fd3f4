"""A causal language model as a policy: the one log-probability that every road uses."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel

from allroads.errors import ModelError
from allroads.models import lora
from allroads.models.head import LOGITS_AT_ONCE, target_logprobs
from allroads.models.states import Rows, States, completion_states, pad_right, wide


class Policy:
    """A causal language model with every source of randomness off.

    Attributes:
        model: the Hugging Face model, in evaluation mode (no dropout, in training too).
        eos_id: the token that finishes a completion.
        head_is_last: whether the logits are the output embedding of the last state, nothing else.
    """

    def __init__(self, model: PreTrainedModel, eos_id: int) -> None:
        self.model = model.eval()
        self.eos_id = eos_id
        self.head_is_last = _head_is_last(model)

    @property
    def backbone(self) -> nn.Module:
        """The transformer without its vocabulary head."""
        return self.model.base_model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def parameters_count(self) -> int:
        """Weights, embeddings included."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def context(self) -> int:
        """Tokens that fit into prompt and completion together."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    def check_fits(self, prompt: int, completion: int) -> None:
        """Refuse sequences that are longer than the model's positions.

        Raises:
            ModelError: naming the lengths and the limit.
        """
        if prompt + completion > self.context:
            raise ModelError(
                f"prompt of {prompt} and completion of {completion} tokens exceed the model's "
                f"{self.context} positions; lower --max-length or --max-new-tokens"
            )

    def logits_of(self, states: Tensor) -> Tensor:
        """(N, V) logits of (N, d) hidden states."""
        return cast(nn.Module, self.model.get_output_embeddings())(states)

    def token_logprobs(self, rows: Rows, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probability of every completion token.

        Args:
            rows: prompts and completions; prompt tokens are conditioned on and never scored.
            temperature: logits are divided by it, as in sampling. Positive.

        Returns:
            (B, T) log-probabilities in nats, exactly 0 on padding, and the (B, T) boolean mask.
            Logits exist only at completion tokens and only a chunk at a time.
        """
        if self.head_is_last:
            states = completion_states(self.backbone, rows, "before")
            return states.spread(self._score(states, temperature)), states.mask
        return self._score_through_model(rows, temperature)

    def sequence_logprobs(self, rows: Rows, *, temperature: float = 1.0) -> Tensor:
        """(B,) log-probability of each whole completion in nats: the sum over its tokens."""
        return self.token_logprobs(rows, temperature=temperature)[0].sum(dim=1)

    def _score(self, states: States, temperature: float) -> Tensor:
        head, targets = self.model.get_output_embeddings(), states.tokens[states.mask]
        if type(head) is not nn.Linear:  # With an adapter of its own, for example.
            return self._score_in_chunks(states.flat, targets, temperature)
        return target_logprobs(
            states.flat, head.weight, targets, bias_V=head.bias, temperature=temperature
        )

    def _score_in_chunks(self, hidden: Tensor, targets: Tensor, temperature: float) -> Tensor:
        size = max(1, LOGITS_AT_ONCE // self.model.config.get_text_config().vocab_size)

        def chunk(part: Tensor, target: Tensor) -> Tensor:
            return _pick(self.logits_of(part), target, temperature)

        # Recomputed in the backward pass: only one chunk of logits is ever alive.
        pairs = zip(hidden.split(size), targets.split(size), strict=True)
        return torch.cat([cast(Tensor, checkpoint(chunk, *p, use_reentrant=False)) for p in pairs])

    def _score_through_model(self, rows: Rows, temperature: float) -> tuple[Tensor, Tensor]:
        # For models that scale or cap their logits after the head: through their own forward.
        full = [(*p, *c) for p, c in zip(rows.prompts, rows.completions, strict=True)]
        ids, _ = pad_right(full, self.device)
        first = min(map(len, rows.prompts)) - 1
        logits = self.model(
            input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - first
        ).logits
        targets, mask = pad_right(rows.completions, self.device)
        start = torch.tensor([len(p) for p in rows.prompts], device=self.device) - 1 - first
        index = start[:, None] + torch.arange(mask.shape[1], device=self.device)[None]
        row = torch.arange(len(rows), device=self.device)[:, None].expand_as(index)
        states = States(logits[row[mask], index[mask]], targets, mask)
        return states.spread(_pick(states.flat, targets[mask], temperature)), mask

    def next_logits(self, ids: Tensor, **cache: object) -> Tensor:
        """(B, V) logits after the last column of `ids`; keyword arguments go to the model."""
        if self.head_is_last:
            states = self.backbone(input_ids=ids, use_cache=True, **cache).last_hidden_state
            return self.logits_of(states[:, -1])
        return self.model(input_ids=ids, use_cache=True, logits_to_keep=1, **cache).logits[:, -1]

    def twin(self) -> Policy:
        """A copy that may be trained; weights that are frozen are shared."""
        return Policy(lora.twin(self.model), self.eos_id)

    def merged(self) -> PreTrainedModel:
        """The plain model: a copy with the adapter, if there is one, added into the weights."""
        return lora.merged(self.model) if lora.has_adapter(self.model) else self.model

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `AutoModelForCausalLM.from_pretrained` loads.

        With an adapter it holds the adapter alone, and names the folder of its base.
        """
        if lora.has_adapter(self.model):
            lora.write_adapter(self.model, folder)
        else:
            self.model.save_pretrained(folder)


def _pick(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    logits = wide(logits)
    if temperature != 1.0:  # Dividing by one would only copy every logit, here and backward.
        logits = logits / temperature
    return torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0]


@torch.no_grad()
def _head_is_last(model: PreTrainedModel) -> bool:
    """Whether the logits are exactly the output embedding of the backbone's last state."""
    head = model.get_output_embeddings()
    if head is None:
        return False
    ids = torch.arange(3, device=next(model.parameters()).device)[None]
    whole = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    split = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    return bool(torch.allclose(whole.float(), split.float(), rtol=1e-5, atol=1e-5))


def load_policy(
    folder: str | Path,
    *,
    eos_id: int,
    dtype: torch.dtype,
    device: torch.device,
    base: Policy | None = None,
) -> Policy:
    """The policy in a checkpoint folder.

    Args:
        folder: a whole model, or an adapter that names its base.
        eos_id: the token that finishes a completion.
        dtype: precision of the weights; an adapter's are at least single.
        device: where they are put.
        base: the adapter's base if it is loaded already: its weights are shared, not copied.

    Raises:
        ModelError: when the folder is absent or holds no causal language model.
    """
    path = Path(folder)
    if lora.is_adapter(path):
        base = base or load_policy(lora.base_of(path), eos_id=eos_id, dtype=dtype, device=device)
        base.model.requires_grad_(requires_grad=False)
        model = lora.twin(base.model)
        lora.read_adapter(model, path)
        cast(nn.Module, model).to(device)
        return Policy(model, eos_id)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"--model {folder}: expected a folder with config.json and weights; found "
            + ("no config.json in it" if path.is_dir() else "no such folder")
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"--model {folder}: not a causal language model: {reason}") from error
    cast(nn.Module, model).to(device)
    return Policy(model, eos_id)
