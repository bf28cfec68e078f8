"""Independent references: nothing here uses todre's runtime.

`MaskOracle` runs the untouched model at full length and hides dropped columns, layer by layer, behind 4-D masks.
`hand_run` really shortens the tensors, and runs the decoder's layers one by one without a cache.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import Tensor
from upstream import CACHE

LOWEST = torch.finfo(torch.float32).min


def from_report(report, visual: Tensor, n_layers: int) -> Tensor:
    """(b, layers, q) bool: columns that a layer must not see; rows of `visual` are repeated to match beams."""
    visual = visual.repeat_interleave(len(report.kept) // visual.shape[0], 0)
    rows, length = visual.shape
    gone = torch.zeros(rows, n_layers, length, dtype=torch.bool)
    for row in range(rows):
        columns = visual[row].nonzero().flatten()
        for layers, kept in sorted(report.kept_from_layer[row].items()):
            gone[row, layers:] = visual[row]
            gone[row, layers:, columns[kept]] = False
    return gone


@torch.no_grad()
def attention_from_early_states(model, inputs: dict[str, Tensor], layer: int, later: int, since: int = 0) -> Tensor:
    """Attention of layer `later` when it is given the states after `layer`, of the untouched eager model.

    Layers are 1-based. The layers between run, but what they made is thrown away, in the columns from `since` on.

    Returns:
        (b, heads, q, q).
    """
    decoder = model.get_decoder()
    layers = list(decoder.layers if hasattr(decoder, "layers") else decoder.model.layers)
    found: dict[str, Tensor] = {}

    def keep(module, args):
        found["states"] = args[0].clone()

    def swap(module, args):
        return torch.cat([args[0][:, :since], found["states"][:, since:]], dim=1), *args[1:]

    def read(module, args, output):
        found["weights"] = output[1]

    attention = [each for name, each in layers[later - 1].named_children() if "attn" in name or "attention" in name]
    handles = [
        layers[layer].register_forward_pre_hook(keep),
        layers[later - 1].register_forward_pre_hook(swap),
        attention[0].register_forward_hook(read),
    ]
    try:
        model(**inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found["weights"]


@contextmanager
def mask_oracle(model, gone: Tensor, padding: Tensor | None = None):
    """Inside the block the untouched `model` sees, in each layer, only the columns that are not `gone`.

    Args:
        gone: (b, layers, columns) bool; columns beyond it are visible.
        padding: (b, columns) 1 where real; columns beyond it are real.
    """
    decoder = model.get_decoder()
    handles = []

    def hook(index):
        def pre(module, args, kwargs):
            hidden = args[0]
            cache = kwargs.get(CACHE)
            past = cache.layers[index].get_seq_length() if cache is not None and len(cache.layers) > index else 0
            queries, total = hidden.shape[1], past + hidden.shape[1]
            visible = torch.ones(hidden.shape[0], total, dtype=torch.bool)
            width = min(total, gone.shape[2])
            repeats = hidden.shape[0] // gone.shape[0]
            visible[:, :width] &= ~gone[:, index, :width].repeat_interleave(repeats, 0)
            if padding is not None:
                width = min(total, padding.shape[1])
                visible[:, :width] &= (
                    padding[:, :width].bool().repeat_interleave(hidden.shape[0] // padding.shape[0], 0)
                )
            causal = torch.arange(total)[None, :] <= torch.arange(past, total)[:, None]
            allowed = causal[None] & visible[:, None]
            mask = torch.zeros(hidden.shape[0], 1, queries, total).masked_fill(~allowed[:, None], LOWEST)
            return args, kwargs | {"attention_mask": mask}

        return pre

    for index, layer in enumerate(decoder.layers):
        handles.append(layer.register_forward_pre_hook(hook(index), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def prompt_embeddings(model, inputs: dict[str, Tensor]) -> Tensor:
    """What the untouched model would give its decoder for a batch of one."""
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    if "pixel_values" in inputs:
        pictures = {k: inputs[k] for k in ("pixel_values", "image_sizes") if k in inputs}
        features = torch.cat(list(model.get_image_features(**pictures, return_dict=True).pooler_output))
        embeds[inputs["input_ids"] == model.config.image_token_id] = features
    return embeds


@torch.no_grad()
def hand_run(model, inputs, kept: list[int], dropped_after: int | None, positions: str = "original") -> Tensor:
    """Logits of the surviving text columns of a batch of one, (text, vocab), from really shortened tensors."""
    decoder = model.get_decoder()
    embeds = prompt_embeddings(model, inputs)
    visual = (inputs["input_ids"] == model.config.image_token_id)[0]
    columns = visual.nonzero().flatten()
    stay = ~visual
    stay[columns[kept]] = True
    hidden = embeds[:, stay]
    places = torch.arange(len(visual))[stay][None] if positions == "original" else torch.arange(int(stay.sum()))[None]
    is_visual = visual[stay]
    angles = decoder.rotary_emb(hidden, position_ids=places)
    for index, layer in enumerate(decoder.layers):
        if dropped_after is not None and index == dropped_after:
            hidden = hidden[:, ~is_visual]
            angles = tuple(angle[:, ~is_visual] for angle in angles)
            is_visual = torch.zeros(hidden.shape[1], dtype=torch.bool)
        length = hidden.shape[1]
        mask = torch.full((length, length), LOWEST).triu(1)[None, None]
        hidden = layer(hidden, attention_mask=mask, position_embeddings=angles)
    hidden = decoder.norm(hidden)[:, ~is_visual]
    return model.lm_head(hidden)[0]
