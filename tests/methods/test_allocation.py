"""No method allocates a map of all tokens by all tokens.

Every tensor that an operation returns is measured.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import tinymodels as tm
import torch
from methods import making, matrix
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import todre
from todre.methods import registry
from todre.methods.base import Method

SIDE, TEXT = 45, 40
N = SIDE * SIDE
SETTINGS = {"swiftvlm": {"layers": (1, 3)}}
INSIDE = [name for name in registry.names() if "reduce" in registry.entry(name).card.acts]
BEFORE = [name for name in registry.names() if registry.entry(name).card.acts == ("select",)]
HOLDING = {
    "agile-threshold": "All cosines of one tile's tokens are held.",
    "gprune": "the edges of one graph are held at a time, (m, m)",
    "mmtok": "All cosines of one tile's tokens are held.",
    "prunesid": "holds the cosines of all its pairs",
    "scope": "All cosines of one tile's tokens are held.",
    "vispruner": "All cosines of one tile's tokens are held.",
}
"""Methods before the LLM that hold a matrix of a part of the tokens, and where they say so."""


class Recorder(TorchDispatchMode):
    """Records the largest number of elements in the storage of any returned tensor."""

    def __init__(self):
        super().__init__()
        self.largest, self.operation = 0, ""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                size = each.untyped_storage().nbytes() // each.element_size()
                if size > self.largest:
                    self.largest, self.operation = size, str(operation)
        return result


@contextmanager
def no_map(n, limit=None):
    """Check that no tensor of `limit` elements is allocated.

    The default is a third of n x n (128 rows for 4 heads are a quarter).
    """
    with torch.no_grad(), Recorder() as recorder:
        yield
    assert recorder.largest < (limit or n * n // 3), (
        f"{recorder.operation} made {recorder.largest} elements of {n} x {n}"
    )


def build(backend):
    """A tiny LLaVA whose pictures have 2025 tokens."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=2 * SIDE,
        patch_size=2,
    )
    text = LlamaConfig(
        vocab_size=tm.VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=4096,
    )
    shared = {"vision_config": vision, "text_config": text, "image_token_id": tm.IMAGE}
    return LlavaForConditionalGeneration(LlavaConfig(**shared, attn_implementation=backend)).eval()


@pytest.fixture(scope="module")
def model():
    return build("sdpa")


def prompt():
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(5, tm.VOCAB, (1, 5 + TEXT), generator=generator)
    ids = torch.cat([words[:, :5], torch.full((1, N), tm.IMAGE), words[:, 5:]], dim=1)
    return {"input_ids": ids, "pixel_values": torch.randn(1, 3, 2 * SIDE, 2 * SIDE, generator=generator)}


@contextmanager
def never_asked_for_attentions(model):
    """Check that nothing turns on `output_attentions` or changes the backend."""
    configs = [model.config, model.config.text_config, model.config.vision_config]
    asked = []

    def before(module, args, kwargs):
        asked.append(bool(kwargs.get("output_attentions")) or any(each.output_attentions for each in configs))
        asked.append(module.config._attn_implementation != "sdpa")

    modules = [module for module in model.modules() if type(module).__name__ == "LlamaAttention"]
    handles = [module.register_forward_pre_hook(before, with_kwargs=True) for module in modules]
    yield
    for handle in handles:
        handle.remove()
    assert asked
    assert not any(asked)
    assert not any(each.output_attentions for each in configs)


def settings_of(name, model, folder):
    """Settings for a decoder of four layers; a trained method gets random weights."""
    if "training" not in registry.entry(name).card.needs:
        return SETTINGS.get(name, {})
    from todre.methods.glimpse.predictor import Glimpse, Shape
    from todre.methods.glimpse.weights import Trained, save_trained, sketch_of

    shape = Shape(layer=2, n_layers=4, width=32, heads=4, head_dim=8)
    words = sketch_of(model.get_input_embeddings().weight)
    save_trained(folder / "glimpse.safetensors", Trained(Glimpse(shape), "none", words))
    return {"weights": str(folder / "glimpse.safetensors"), "cap": 0.3}


@pytest.mark.parametrize("name", INSIDE)
def test_no_map_inside_the_llm(model, tmp_path, monkeypatch, name):
    method, inputs = matrix.method_of(name, **settings_of(name, model, tmp_path)), prompt()
    if "packed" in method.card.needs:  # this tower packs nothing: the part inside the LLM alone
        monkeypatch.setattr(type(method), "tower", lambda self: None)
    with todre.prune(model, method) as report, never_asked_for_attentions(model), no_map(N):
        output = model(**inputs, use_cache=True, logits_to_keep=1)
    assert output.attentions is None
    assert report.visual_tokens_before == [N]
    assert report.visual_tokens_per_layer[0][-1] < N


def clip_or_picture(method: Method):
    """2025 tokens in a raster: a thumbnail and crops, or 9 frames for clip methods."""
    signals = {}
    generator = torch.Generator().manual_seed(2)
    for request in method.signals():
        signals[request] = torch.randn(N, 16, generator=generator) if request.kind == "keys" else None
    given = {"d": 32, "signals": signals, "text": TEXT}
    if "frames" in method.card.needs:
        return making.visual_tokens_of(N, frame=torch.arange(N) // 225, column=15, **given)
    return making.visual_tokens_of(N, tile=(torch.arange(N) >= 9 * SIDE).long(), column=SIDE, **given)


@pytest.mark.parametrize("name", [name for name in BEFORE if name not in HOLDING])
def test_no_map_before_the_llm(name):
    method = matrix.method_of(name)
    visual = clip_or_picture(method)
    with no_map(N):
        selected = method.select(visual)
    keep = selected if isinstance(selected, torch.Tensor) else selected.keep
    assert 0 < int(keep.sum()) < N


@pytest.mark.parametrize("name", HOLDING)
def test_methods_that_hold_a_matrix_of_one_sheet_say_so(name):
    method, sheet = matrix.method_of(name), N - 9 * SIDE
    with no_map(N, limit=sheet * (sheet + TEXT) + 1):  # MMTok's has rows for the text, too
        method.select(clip_or_picture(method))
    reply = " ".join((registry.entry(name).cls.__doc__ or "").split())
    assert HOLDING[name] in reply


def test_a_map_would_be_noticed():
    with pytest.raises(AssertionError, match=f"elements of {N} x {N}"), no_map(N):
        build("eager")(**prompt(), logits_to_keep=1)


def test_the_untouched_model_makes_no_map(model):
    with no_map(N):
        model(**prompt(), logits_to_keep=1)
