"""Starting weights: neighbour heads of the tower, naming heads of the decoder, the same in every layer."""

import numpy as np
import pytest
import torch

from todre.scenes import make_scene
from todre.tiny.data import picture_tensors
from todre.tiny.heads import symbolic_features
from todre.tiny.initial import sine_positions
from todre.tiny.labels import FEATURE_NAMES, NAMED_FEATURES, OTHER_FEATURES
from todre.tiny.stages import build_parts


@pytest.fixture(scope="module")
def parts():
    return build_parts(0, torch.device("cpu"))


def test_equal_seeds_start_equal_and_others_do_not(parts):
    again, other = build_parts(0, torch.device("cpu")), build_parts(1, torch.device("cpu"))
    for key, value in parts.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])
    key = "lm_head.weight"
    assert not torch.equal(parts.model.state_dict()[key], other.model.state_dict()[key])


def test_heads_of_the_tower_look_at_the_patch_beside_each_patch(parts):
    from todre.tiny.model import build_image_processor

    tower = parts.model.model.vision_tower
    tower.set_attn_implementation("eager")
    pixels, _, _ = picture_tensors([make_scene(0)], build_image_processor())
    maps = tower(pixel_values=pixels[0], output_attentions=True).attentions[0]
    patches = 1 + (torch.arange(2, 9)[:, None] * 12 + torch.arange(2, 9)).flatten()
    steps = [12 * down + right for down in (-2, -1, 0, 1, 2) for right in (-2, -1, 0, 1, 2)]
    for head, wanted in ((0, 1), (1, -1), (2, 12), (3, -12)):
        rows = maps[:, head, patches].detach()
        shares = {
            step: float(rows.gather(2, (patches + step).expand(len(rows), -1)[..., None]).mean()) for step in steps
        }
        assert max(shares, key=shares.__getitem__) == wanted
        assert shares[wanted] > 0.4


def test_no_two_positions_look_alike():
    code = sine_positions(12, 192)
    assert float(torch.cdist(code, code).fill_diagonal_(9.0).min()) > 0.5


def test_every_decoder_layer_starts_alike_in_its_biased_heads(parts):
    layers = parts.model.model.language_model.layers
    first = layers[0].self_attn
    for layer in layers[1:]:
        for head in range(5):
            rows = slice(32 * head, 32 * head + 32)
            set_rows = first.q_proj.weight[rows].abs().amax(dim=1) > 0.2
            assert torch.equal(first.q_proj.weight[rows][set_rows], layer.self_attn.q_proj.weight[rows][set_rows])


def test_a_word_looks_at_what_it_names(parts):
    scene = make_scene(3, "val")
    features = symbolic_features([scene], True, np.random.default_rng(0))
    visual = parts.symbols(features, parts.model.model.image_newline)[0]
    embed = parts.model.get_input_embeddings()
    prefix = torch.tensor(parts.encoder.prefix)
    words = torch.tensor(parts.encoder.encode("What color is the star?"))
    decoder = parts.model.model.language_model
    decoder.set_attn_implementation("eager")
    try:
        embeds = torch.cat([embed(prefix), visual, embed(words)])[None]
        attention = decoder(inputs_embeds=embeds, output_attentions=True).attentions[0][0, 0, -2]
    finally:
        decoder.set_attn_implementation("todre-packed")
    on_picture = attention[len(prefix) : len(prefix) + len(visual)]
    stars = features[0, :, FEATURE_NAMES.index("star")] > 0
    assert 0 < int(stars.sum()) < 60
    assert float(on_picture[stars].detach().sum()) > 0.5


def test_features_that_are_named_and_that_are_not_do_not_meet():
    assert not set(NAMED_FEATURES) & set(OTHER_FEATURES)
    assert len(NAMED_FEATURES) == 13
    assert len(OTHER_FEATURES) == 2 + 2 + 24
