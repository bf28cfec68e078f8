"""Samples packed in one row, as for training without padding, come out as each does in a row of its own."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from families.checks import METHODS, visual_columns
from families.prompts import batch, prompt
from families.specimens import all_specimens, refused_variants
from families.test_verified import marked
from families.zoo.specimen import Specimen
from flashlike import flash_attention
from flexlike import uncompiled_flex
from torch import Tensor
from upstream import CACHE

import todre
from todre.errors import UnsupportedInputError
from todre.hf.decoder import decoder_of
from todre.hf.families import FAMILIES

TOLERANCE = 1e-5


WRONG = ("gemma3", "gemma4-moe", "shieldgemma2")
"""Untouched, they mix packed samples: their masks for layers with a window are wrong (to be seen below)."""


def known() -> list[Specimen]:
    """Those that take both stages, each decoder once."""
    found = [one for one in all_specimens() if one.model_type in FAMILIES and one.name not in refused_variants()]
    return [one for one in found if "both-stages" in one.methods]


def named(*names: str) -> list[Specimen]:
    return [one for one in known() if one.name in names]


class PackedCase:
    """What a decoder was called with."""

    def __init__(self, model: Any) -> None:
        self.positions: list[Tensor | None] = []
        self.handle = decoder_of(model).module.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.positions.append(kwargs.get("position_ids"))


def singles(specimen: Specimen, model: Any) -> list[dict[str, Any]]:
    """A picture, two pictures of other sizes, and text alone, each in a row without a mask."""
    media = [specimen.media(model, "image", variant) for variant in range(3)]
    prompts = [prompt(7, media[:1], 6, seed=1), prompt(4, media[1:], 9, seed=2), prompt(12, [], 5, seed=3)]
    made = [batch(specimen, model, [one]) for one in prompts]
    return [{name: value for name, value in one.items() if name != "attention_mask"} for one in made]


def with_positions(model: Any, alone: list[dict[str, Any]]) -> list[Tensor]:
    """The positions that the untouched model gives each sample; M-RoPE's with the count of tokens before them."""
    given = PackedCase(model)
    for one in alone:
        model(**one, use_cache=False)
    given.handle.remove()
    axes = max(3 if positions is not None and positions.ndim == 3 else 1 for positions in given.positions)
    found = []
    for one, positions in zip(alone, given.positions, strict=True):
        count = torch.arange(one["input_ids"].shape[1])[None]
        if axes == 1:
            found.append(count)
        else:
            places = count.expand(3, 1, -1) if positions is None or positions.ndim == 2 else positions
            found.append(places if len(places) == 4 else torch.cat([count[None], places]))
    return found


def packed(specimen: Specimen, model: Any, alone: list[dict[str, Any]], positions: list[Tensor]) -> dict[str, Any]:
    """All samples in one row."""
    media = [specimen.media(model, "image", variant) for variant in range(3)]
    ids = torch.cat([one["input_ids"] for one in alone], dim=1)
    rest = specimen.columns(model, ids) | specimen.collate(model, media)
    return {"input_ids": ids, "position_ids": torch.cat(positions, dim=-1), **rest}


@pytest.mark.parametrize("specimen", marked([one for one in known() if one.name not in WRONG]))
@torch.no_grad()
def test_packed_samples_equal_single_ones(specimen: Specimen) -> None:
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    positions = with_positions(model, alone)
    row = packed(specimen, model, alone, positions)
    for name, method in METHODS.items():
        with todre.prune(model, method) as report:
            got = model(**row, use_cache=False).logits[0]
            counts = list(report.visual_tokens_after)
            expected, after = [], []
            for one in alone:
                expected.append(model(**one, use_cache=False).logits[0])
                after += report.visual_tokens_after
        assert counts == after, name
        torch.testing.assert_close(got, torch.cat(expected), atol=TOLERANCE, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("specimen", named(*WRONG), ids=lambda one: one.name)
@torch.no_grad()
def test_what_transformers_itself_mixes_is_refused(specimen: Specimen) -> None:
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone))
    untouched = torch.cat([model(**one, use_cache=False).logits[0] for one in alone])
    assert (model(**row, use_cache=False).logits[0] - untouched).abs().max() > 0.1
    with (
        todre.prune(model, METHODS["stage-1"]),
        pytest.raises(UnsupportedInputError, match="Samples packed in one row"),
    ):
        model(**row, use_cache=False)


REPRESENTATIVE = (
    "llava_next-llama",
    "qwen2_5_vl",
    "qwen3_vl",
    "internvl-qwen2",
    "paligemma",
    "lfm2_vl-hybrid",
    "aya_vision",
)


def learned(model: Any, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Gradients of the sum of what is said about every text token."""
    model.zero_grad(set_to_none=True)
    for one in inputs:
        logits = model(**one, use_cache=False).logits
        text = ~visual_columns(SPECIMEN_OF[id(model)], model, one["input_ids"])
        (logits[text].float() ** 2).sum().backward()
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


SPECIMEN_OF: dict[int, Specimen] = {}


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("specimen", named(*REPRESENTATIVE), ids=lambda one: one.name)
@pytest.mark.parametrize("name", sorted(METHODS))
def test_gradients_of_packed_samples_are_those_of_single_ones(specimen: Specimen, name: str, backend: str) -> None:
    model = specimen.build(backend)
    SPECIMEN_OF[id(model)] = specimen
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone))
    with todre.prune(model, METHODS[name]):
        together, apart = learned(model, [row]), learned(model, alone)
    assert together.keys() == apart.keys()
    for weight, gradient in apart.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(together[weight] / scale, gradient / scale, atol=1e-5, rtol=0, msg=weight)


@pytest.mark.parametrize("specimen", named("llava_next-llama", "qwen2_5_vl"), ids=lambda one: one.name)
@torch.no_grad()
def test_rows_of_a_packed_batch_are_split_one_by_one(specimen: Specimen) -> None:
    """Two rows that are packed otherwise, and states of all layers as well as the last."""
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    positions = with_positions(model, alone)
    first = packed(specimen, model, alone, positions)
    order = [2, 0, 1]
    media = [specimen.media(model, "image", variant) for variant in range(3)]
    ids = torch.cat([torch.cat([alone[place]["input_ids"] for place in order], dim=1), first["input_ids"]])
    places = torch.cat([torch.cat([positions[place] for place in order], dim=-1), first["position_ids"]], dim=-2)
    both = {"input_ids": ids, "position_ids": places}
    both |= specimen.columns(model, ids) | specimen.collate(model, media + media)
    with todre.prune(model, METHODS["both-stages"]) as report:
        got = model(**both, use_cache=False, output_hidden_states=True)
        assert len(report.visual_tokens_after) == 6
        reply = [model(**one, use_cache=False, output_hidden_states=True) for one in alone]
    for row, places in enumerate((order, range(3))):
        expected = torch.cat([reply[place].logits[0] for place in places])
        torch.testing.assert_close(got.logits[row], expected, atol=TOLERANCE, rtol=0)
        for depth, state in enumerate(got.hidden_states):
            expected = torch.cat([reply[place].hidden_states[depth][0] for place in places])
            torch.testing.assert_close(state[row], expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("specimen", named("llava_next-llama", "internvl-qwen2"), ids=lambda one: one.name)
@torch.no_grad()
def test_bounds_say_where_samples_begin(specimen: Specimen) -> None:
    """What collators for training without padding give to kernels for packed rows."""
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone))
    with todre.prune(model, METHODS["both-stages"]):
        expected = model(**row, use_cache=False).logits
        assert torch.equal(model(**row, **bounds_of(alone), use_cache=False).logits, expected)


def bounds_of(alone: list[dict[str, Any]]) -> dict[str, Any]:
    """What says where samples begin, as collators do."""
    lengths = torch.tensor([0, *(one["input_ids"].shape[1] for one in alone)])
    bounds = lengths.cumsum(0).int()
    return {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": 99, "max_length_k": 99}


@pytest.mark.parametrize("backend", ["sdpa", "flash"])
@pytest.mark.parametrize("way", ["bounds", "positions"])
@pytest.mark.parametrize("name", sorted(METHODS))
@torch.no_grad()
def test_a_mask_that_hides_nothing_leaves_samples_apart(name: str, way: str, backend: str) -> None:
    """Flash attention takes it for none and goes by positions; other backends do not, but bounds are never dropped."""
    (specimen,) = named("llava_next-llama")
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone))
    row["attention_mask"] = torch.ones_like(row["input_ids"])
    row |= bounds_of(alone) if way == "bounds" else {}
    apart = backend == "flash" or way == "bounds"
    with flash_attention(model) if backend == "flash" else nullcontext():
        untouched = model(**(row if way == "positions" else row | {"attention_mask": None}), use_cache=False).logits[0]
        with todre.prune(model, METHODS[name]):
            got = model(**row, use_cache=False).logits[0]
            expected = torch.cat([model(**one, use_cache=False).logits[0] for one in alone])
        if apart:
            torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)
        with todre.prune(model, todre.ToDRE(retain=1.0, threshold=0.0)):
            kept = model(**row, use_cache=False).logits[0]
        if backend == "flash" or not apart:
            torch.testing.assert_close(kept, untouched, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_bounds_that_fit_no_mask_or_cache_are_refused() -> None:
    (specimen,) = named("llava_next-llama")
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone)) | bounds_of(alone)
    padding = torch.ones_like(row["input_ids"])
    padding[:, :2] = 0
    with todre.prune(model, METHODS["stage-1"]), pytest.raises(UnsupportedInputError, match="cu_seq_lens_q"):
        model(**row, attention_mask=padding, use_cache=False)
    cache = model(**alone[2], use_cache=True)[CACHE]
    with todre.prune(model, METHODS["stage-1"]), pytest.raises(UnsupportedInputError, match="cu_seq_lens_q"):
        model(**row, **{CACHE: cache})


@pytest.mark.parametrize("specimen", named("paligemma", "gemma3-full"), ids=lambda one: one.name)
@torch.no_grad()
def test_block_masks_with_attention_within_pictures_are_refused(
    specimen: Specimen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cannot be taken apart, and a causal one in their place would be another model's."""
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone))
    model.config.get_text_config()._attn_implementation = "flex_attention"
    with (
        uncompiled_flex(monkeypatch),
        todre.prune(model, METHODS["stage-1"]),
        pytest.raises(UnsupportedInputError, match="flex_attention"),
    ):
        model(**row, use_cache=False)


@pytest.mark.parametrize("specimen", named("llava_next-llama", "qwen2_5_vl"), ids=lambda one: one.name)
@torch.no_grad()
def test_flex_attention_keeps_samples_apart(specimen: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone))
    with todre.prune(model, METHODS["stage-1"]):
        expected = torch.cat([model(**one, use_cache=False).logits[0] for one in alone])
    model.config.get_text_config()._attn_implementation = "flex_attention"
    with uncompiled_flex(monkeypatch), todre.prune(model, METHODS["stage-1"]):
        got = model(**row, use_cache=False).logits[0]
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_packed_rows_and_a_cache() -> None:
    """Where transformers itself takes a row with a cache for one sample, it stays one; bounds are never dropped."""
    (specimen,) = named("llava_next-llama")
    model = specimen.build("sdpa")
    alone = singles(specimen, model)
    row = packed(specimen, model, alone, with_positions(model, alone))
    untouched = model(**row, use_cache=True).logits
    with todre.prune(model, todre.ToDRE(retain=1.0, stages=(1,))):
        torch.testing.assert_close(model(**row, use_cache=True).logits, untouched, atol=TOLERANCE, rtol=0)
        bounds = torch.tensor([0, 20, row["input_ids"].shape[1]]).int()
        with pytest.raises(UnsupportedInputError, match="use_cache=False"):
            model(**row, cu_seq_lens_q=bounds, cu_seq_lens_k=bounds, use_cache=True)
