"""Reading a backbone of the library's as a `Transformer`: GPT-2, GPT-NeoX and Llama's kind.

A family is known by its class. Whatever it holds that the plain pass would not do (a window,
cross-attention) makes it unknown, and before a module is first used its states are compared with
those of the library's own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from allroads.models.accumulation import gradient_to_add_to
from allroads.models.activations import activation_of
from allroads.models.packing import alone
from allroads.models.rotary import Turn, rotated
from allroads.models.transformer import Block, Transformer

_PROBE = (1, 2, 0, 3, 1)
"""Tokens that are compared, as far as the vocabulary and the positions go."""

_agreed: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def transformer_of(backbone: nn.Module) -> Transformer | None:
    """The backbone's pass over packed tokens; None: only the library's own can be used.

    That is so for other families, for variants that the plain pass would not do, and, whatever the
    reason, where both passes disagree on a few tokens beyond the rounding of their precision.
    """
    kind = type(backbone)
    known = kind.__module__.startswith("transformers.models.")
    reader = _READERS.get(kind.__name__) if known else None
    try:
        found = None if reader is None else reader(backbone)
    except AttributeError:  # Another release of the library.
        return None
    if found is None:
        return None
    if backbone not in _agreed:
        _agreed[backbone] = _agrees(backbone, found)
    return found if _agreed[backbone] else None


@torch.no_grad()
def _agrees(backbone: nn.Module, found: Transformer) -> bool:
    weight = next(backbone.parameters())
    config = cast(Any, backbone).config
    row = [i % config.vocab_size for i in _PROBE[: config.max_position_embeddings]]
    ids = torch.tensor([row], device=weight.device)
    theirs = backbone(input_ids=ids, use_cache=False).last_hidden_state[0].double()
    packing = alone([tuple(row)], [range(len(row))], weight)
    ours = found.states(packing.ids, packing.positions, packing.attend, read=packing.read)
    # In half precision the two round in different places: a few units in the last place.
    close = max(1e-4, 16 * torch.finfo(weight.dtype).eps)
    return torch.allclose(ours.double(), theirs, rtol=close, atol=close)


def _gpt2(model: Any) -> Transformer | None:
    config = model.config
    if config.add_cross_attention or config.reorder_and_upcast_attn:
        return None
    heads, words = config.num_attention_heads, _embedding(model.wte)

    def block(layer: Any) -> Block:
        fused = _linear(layer.attn.c_attn)

        def project(x: Tensor, _: Turn | None) -> tuple[Tensor, Tensor, Tensor]:
            q, k, v = fused(x).view(len(x), 3, heads, -1).unbind(1)
            return q, k, v

        return Block(
            before_attention=_norm(layer.ln_1),
            project=project,
            out=_linear(layer.attn.c_proj),
            before_mlp=_norm(layer.ln_2),
            mlp=_mlp(layer.mlp.c_fc, layer.mlp.act, layer.mlp.c_proj),
            parallel=False,
            scale=layer.attn.scaling,
        )

    return Transformer(
        embed=lambda ids, positions: words(ids) + model.wpe(positions),
        turn=None,
        blocks=tuple(map(block, model.h)),
        norm=_norm(model.ln_f),
    )


def _gpt_neox(model: Any) -> Transformer | None:
    heads, words = model.config.num_attention_heads, _embedding(model.embed_in)

    def block(layer: Any) -> Block:
        fused = _linear(layer.attention.query_key_value)

        def project(x: Tensor, turn: Turn | None) -> tuple[Tensor, Tensor, Tensor]:
            whole = fused(x).view(len(x), heads, 3, -1)
            q, k = rotated(whole[:, :, :2], turn).unbind(2)
            # A copy: as a view it would keep all three alive for the backward pass.
            return q, k, whole[:, :, 2].contiguous()

        return Block(
            before_attention=_norm(layer.input_layernorm),
            project=project,
            out=_linear(layer.attention.dense),
            before_mlp=_norm(layer.post_attention_layernorm),
            mlp=_mlp(layer.mlp.dense_h_to_4h, layer.mlp.act, layer.mlp.dense_4h_to_h),
            parallel=layer.use_parallel_residual,
            scale=layer.attention.scaling,
        )

    return Transformer(
        embed=lambda ids, _: words(ids),
        turn=_turn(model, model.layers[0].attention.head_size),
        blocks=tuple(map(block, model.layers)),
        norm=_norm(model.final_layer_norm),
    )


def _llama(model: Any) -> Transformer | None:
    config = model.config
    windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if windows or getattr(config, "sliding_window", None) is not None:
        return None
    if len(model.layers) != config.num_hidden_layers:
        return None
    words = _embedding(model.embed_tokens)

    def block(layer: Any) -> Block:
        attention, mlp = layer.self_attn, layer.mlp
        width = attention.head_dim
        activation = activation_of(mlp.act_fn)

        of_q, of_k, of_v = map(_linear, (attention.q_proj, attention.k_proj, attention.v_proj))
        gate, up, down = map(_linear, (mlp.gate_proj, mlp.up_proj, mlp.down_proj))

        def project(x: Tensor, turn: Turn | None) -> tuple[Tensor, Tensor, Tensor]:
            q, k = (rotated(part(x).view(len(x), -1, 1, width), turn) for part in (of_q, of_k))
            return q[:, :, 0], k[:, :, 0], of_v(x).view(len(x), -1, width)

        return Block(
            before_attention=_norm(layer.input_layernorm),
            project=project,
            out=_linear(attention.o_proj),
            before_mlp=_norm(layer.post_attention_layernorm),
            mlp=lambda x: down(activation(gate(x)) * up(x)),
            parallel=False,
            scale=attention.scaling,
        )

    return Transformer(
        embed=lambda ids, _: words(ids),
        turn=_turn(model, model.layers[0].self_attn.head_dim),
        blocks=tuple(map(block, model.layers)),
        norm=_norm(model.norm),
    )


_READERS: dict[str, Callable[[Any], Transformer | None]] = {
    "GPT2Model": _gpt2,
    "GPTNeoXModel": _gpt_neox,
    "LlamaModel": _llama,
    "MistralModel": _llama,
    "Qwen2Model": _llama,
}
"""By the library's name of exactly this class (a subclass may do something else): importing the
classes would import every family."""

_RMS_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm")


def _embedding(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """What an embedding looks up; to a gradient that is there already only its rows are added."""
    if type(module) is not nn.Embedding or module.max_norm is not None:
        return module
    weight, skipped = module.weight, module.padding_idx

    def look_up(ids: Tensor) -> Tensor:
        # Otherwise every piece of a minibatch would hold a second gradient of the whole vocabulary.
        rows_only = gradient_to_add_to(weight) is not None
        return nn.functional.embedding(ids, weight, skipped, sparse=rows_only)

    return look_up


def _linear(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """What a linear layer computes of (N, d), without a module's call; adapters stay modules."""
    if type(module) is nn.Linear:
        weight, bias = module.weight, module.bias
        return lambda x: nn.functional.linear(x, weight, bias)
    if type(module) is Conv1D:
        weight, bias = module.weight, module.bias
        return lambda x: torch.addmm(bias, x, weight)
    return module


def _norm(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """What a norm computes, in one kernel where its own is several."""
    if type(module) is nn.LayerNorm:
        shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
        return lambda x: nn.functional.layer_norm(x, shape, weight, bias, eps)
    if type(module).__name__ in _RMS_NORMS and cast(Any, module).weight.dtype == torch.float32:
        scale, small = cast(Any, module).weight, cast(Any, module).variance_epsilon
        return lambda x: nn.functional.rms_norm(x, scale.shape, scale, small)
    return module


def _mlp(first: nn.Module, act: nn.Module, second: nn.Module) -> Callable[[Tensor], Tensor]:
    up, activation, down = _linear(first), activation_of(act), _linear(second)
    return lambda x: down(activation(up(x)))


def _turn(model: Any, width: int) -> Callable[[Tensor], Turn]:
    like = next(model.parameters()).detach()

    def turn(positions: Tensor) -> Turn:
        # The library's angles: single precision whatever the weights', both halves alike.
        cosines, sines = model.rotary_emb(like, positions[None])
        return Turn.by(cosines[0], sines[0], width)

    return turn
