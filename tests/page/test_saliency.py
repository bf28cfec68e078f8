"""Saliency of tokens, against the attention maps of the tower run by itself."""

import math
import re

import pytest
import torch
from PIL import Image

from todre.loading import load
from todre.page import cards
from todre.page.answering import Outcome, answer_all
from todre.page.examples import EXAMPLES
from todre.page.saliency import Saliency, request_of, what
from todre.page.wish import Wish
from todre.tensors.token_facts import Signal
from todre.tiny import load as load_tiny

LAYERS = {"none": -1, "todre": -1, "visionzip": -2, "random": -1}
"""The layer of the tower that each method reads, or that is shown for it."""
CLOSE = 1e-5


@pytest.fixture(scope="module")
def loaded():
    return load(device="cpu")


@pytest.fixture(scope="module", params=[(120, 90), (64, 160)])
def picture(request):
    return EXAMPLES[0].open().resize(request.param)


@pytest.fixture(scope="module")
def outcomes(loaded, picture):
    given = []
    answer_all(loaded, picture, Wish(methods=tuple(LAYERS), share=0.3), given.append, lambda: False)
    return {one.name: one for one in given if isinstance(one, Outcome)}


@pytest.fixture(scope="module")
def maps(picture):
    """By layer, (attention of [CLS] to each visual token, each token's tile), NaN at newlines.

    The eager tower's own maps, packed by transformers as it packs features.
    """
    model, processor = load_tiny()
    tower = model.model.vision_tower
    tower.set_attn_implementation("eager")
    inputs = processor.image_processor(images=[picture], return_tensors="pt")
    with torch.no_grad():
        found = tower(inputs["pixel_values"][0], output_attentions=True).attentions
    packed = {}
    for layer in set(LAYERS.values()):
        values = found[layer].mean(dim=1)[:, 0, 1:]
        tiles = torch.arange(len(values), dtype=torch.float32)[:, None].expand_as(values)
        both = torch.stack([values, tiles], dim=-1)
        (rows,), _ = model.model.pack_image_features(
            [both], inputs["image_sizes"], "default", image_newline=torch.full((2,), torch.nan)
        )
        packed[layer] = rows[:, 0].tolist(), rows[:, 1].tolist()
    return packed


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_towers_own_attention(outcomes, maps, name):
    values, tiles = maps[LAYERS[name]]
    found = outcomes[name].saliency
    assert found.values == pytest.approx(values, abs=CLOSE, nan_ok=True)
    assert sum(map(math.isnan, values)) == sum(map(math.isnan, found.values)) > 0
    for place, (value, tile) in enumerate(zip(values, tiles, strict=True)):
        mine = [other for other, at in zip(values, tiles, strict=True) if at == tile]
        surely = 1 + sum(other > value + 2 * CLOSE for other in mine)
        at_most = sum(other >= value - 2 * CLOSE for other in mine)
        assert found.among[place] == len(mine)
        assert surely <= found.ranks[place] <= at_most if mine else found.ranks[place] == 0
    ranked = [rank for rank, tile in zip(found.ranks, tiles, strict=True) if tile == 0]
    assert min(ranked) == 1
    assert max(ranked) <= len(ranked)


def test_a_token_says_it(loaded, picture, outcomes, maps):
    for name, layer in LAYERS.items():
        said = re.findall(
            r'data-say="Token (\d+) of [^"]*\. \[CLS\] attention (?:\(tower layer (-\d)\) )?([\d.]+) %, rank \d+ of '
            r'\d+ in its tile\."',
            cards.card(loaded, picture, outcomes[name]),
        )
        assert said
        for place, where, percent in said:
            assert float(percent) == pytest.approx(100 * maps[layer][0][int(place)], abs=0.0051)
            assert where == ("" if layer == -1 else f"{layer}")


def test_a_newline_token_has_none(loaded, picture, outcomes):
    said = re.findall(r'data-say="Token \d+ of \d+ \((\w+)\)[^"]*Saliency: none\."',
                      cards.card(loaded, picture, outcomes["none"]))  # fmt: skip
    assert set(said) == {"newline"}


def test_todres_pivot_is_the_most_salient_of_the_thumbnail(loaded, picture, outcomes):
    found = outcomes["todre"]
    assert (found.saliency.ranks[found.order[0]], found.order[0] < 144) == (1, True)


def test_the_answer_is_given_before_its_saliency(loaded):
    given = []
    answer_all(loaded, Image.new("RGB", (40, 40), "red"), Wish(methods=("none", "random")), given.append, lambda: False)
    outcomes = [(one.name, one.saliency is None) for one in given if isinstance(one, Outcome)]
    assert outcomes == [("none", True), ("random", True), ("none", False), ("random", False)]


def test_a_smaller_picture_has_none(loaded, picture):
    given = []
    answer_all(loaded, picture, Wish(methods=("downsample",)), given.append, lambda: False)
    assert [one.saliency for one in given if isinstance(one, Outcome)] == [None]


def test_where_no_attention_can_be_read_a_token_says_none():
    blind = Saliency(what="Attention received", values=(math.nan,), ranks=(0,), among=(0,))
    assert blind.words(0) == "Saliency: none."


def test_which_attention_is_named(loaded):
    assert what(Signal("received", 0.5), loaded.model.config) == "Attention received (tower layer 0.5 of the depth)"
    assert what(Signal("auto"), None) == "Attention received"
    assert what(Signal("auto", -2), loaded.model.config) == "[CLS] attention (tower layer -2)"


@pytest.mark.parametrize("name", ["todre", "mmr", "mustdrop", "vflowopt"])
def test_multiples_of_even_attention_are_shown_as_shares(name):
    from todre.methods import registry

    (read,) = registry.create(name).signals()
    assert read.even
    assert request_of(registry.create(name)) == Signal(read.kind, read.layer)


def test_a_method_without_a_signal_is_shown_the_last_layer():
    from todre.methods import registry

    assert request_of(registry.create("random")) == Signal("auto")
    assert request_of(registry.create("visionzip")).layer == -2
