"""What `src/todre/hf/visual_layouts.py` takes for granted of the way from a tower's tokens to visual tokens."""

from __future__ import annotations

import pytest
import torch
from families.specimens import all_specimens
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.internvl.configuration_internvl import InternVLVisionConfig
from transformers.models.internvl.modeling_internvl import InternVLVisionModel
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches, unpad_image
from transformers.vision_utils import get_vision_window_index

TILE, PINPOINTS = 24, [[24, 48], [48, 24], [48, 48]]


def specimen(model_type):
    return next(one for one in all_specimens() if one.model_type == model_type)


def picture(one, model, variant):
    """Inputs of one picture, and what the model makes of them, (n, d)."""
    inputs = one.collate(model, [one.media(model, "image", variant)])
    with torch.no_grad():
        features = model.base_model.get_image_features(**inputs, return_dict=True).pooler_output
    return inputs, features[0]


@pytest.mark.parametrize("variant", [0, 1, 2])
@pytest.mark.parametrize("model_type", ["llava_next", "llava_next_video", "llava_onevision"])
def test_packing_moves_vectors_of_any_width_alike(model_type, variant):
    """So numbers may take the way of features: unpadding, rows, newlines and shrinking come out right."""
    one = specimen(model_type)
    model = one.build("sdpa")
    inputs, features = picture(one, model, variant)
    config, vision = model.config, model.config.vision_config
    tiles = image_size_to_num_patches(inputs["image_sizes"][0], config.image_grid_pinpoints, vision.image_size)
    side = vision.image_size // vision.patch_size
    name = "vision_aspect_ratio" if hasattr(config, "vision_aspect_ratio") else "vision_feature_select_strategy"
    scales = torch.tensor([1.0, -2.0, 0.5, 3.0, 8.0])
    number = torch.rand(tiles, side**2, 1) + 1
    packed = []
    for width in (scales[:1], scales):
        options = {name: getattr(config, name), "image_newline": -width}
        (rows,), _ = model.base_model.pack_image_features([number * width], inputs["image_sizes"], **options)
        packed.append(rows)
    assert packed[0].shape == (len(features), 1)
    assert bool((packed[0] == -1).any())
    torch.testing.assert_close(packed[1], packed[0] * scales)


def test_a_number_that_is_not_known_stays_so():
    """NaN marks newlines; it must not spread."""
    one = specimen("llava_next")
    model = one.build("sdpa")
    inputs, features = picture(one, model, 0)
    vision = model.config.vision_config
    side = vision.image_size // vision.patch_size
    tiles = image_size_to_num_patches(inputs["image_sizes"][0], model.config.image_grid_pinpoints, vision.image_size)
    known = torch.rand(tiles, side**2, 1)
    newline = torch.tensor([torch.nan])
    options = {"vision_feature_select_strategy": "default"}
    (marks,), lengths = model.base_model.pack_image_features(
        [known], inputs["image_sizes"], image_newline=newline, **options
    )
    assert len(marks) == int(lengths[0]) == len(features)
    rows = int(marks.isnan().sum())
    assert 0 < rows < len(marks) // 2


@pytest.mark.parametrize(("size", "tiles"), [((24, 48), 3), ((48, 24), 3), ((48, 48), 5), ((40, 47), 5)])
def test_tiles_are_counted_with_the_thumbnail(size, tiles):
    assert image_size_to_num_patches(size, PINPOINTS, TILE) == tiles
    assert image_size_to_num_patches(torch.tensor(size), PINPOINTS, TILE) == tiles


def test_unpadding_takes_as_much_from_either_side():
    canvas = torch.arange(64.0).view(1, 8, 8)
    assert torch.equal(unpad_image(canvas, (4, 8)), canvas[:, 2:6])
    assert torch.equal(unpad_image(canvas, (8, 4)), canvas[:, :, 2:6])


def test_a_tower_with_windows_attends_in_their_order_and_answers_in_that_of_the_picture():
    one = specimen("qwen2_5_vl")
    model = one.build("sdpa")
    tower, config = model.base_model.visual, model.config.vision_config
    inputs = one.collate(model, [one.media(model, "image", variant) for variant in (0, 1)])
    seen = {}
    handles = [
        tower.patch_embed.register_forward_hook(lambda module, args, output: seen.update(before=output)),
        tower.blocks[0].register_forward_pre_hook(lambda module, args: seen.update(first=args[0])),
        tower.merger.register_forward_hook(lambda module, args, output: seen.update(merged=output)),
    ]
    with torch.no_grad():
        features = model.base_model.get_image_features(**inputs, return_dict=True).pooler_output
    for handle in handles:
        handle.remove()
    merge = config.spatial_merge_size
    order, _ = get_vision_window_index(inputs["image_grid_thw"], merge, config.window_size, config.patch_size)
    assert order.tolist() != sorted(order.tolist())
    cells = seen["before"].view(len(order), merge**2, -1)
    assert torch.equal(cells[order].flatten(0, 1), seen["first"].flatten(0, -2))
    assert torch.equal(seen["merged"][order.argsort()], torch.cat(list(features)))


TOWERS = {
    "clip_vision_model": (CLIPVisionConfig, CLIPVisionModel, "class_embedding"),
    "internvl_vision": (InternVLVisionConfig, InternVLVisionModel, "cls_token"),
}


@pytest.mark.parametrize("kind", sorted(TOWERS))
def test_a_towers_class_token_is_its_first(kind):
    config_class, model_class, name = TOWERS[kind]
    settings = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = config_class(**settings, image_size=[12, 12] if kind == "internvl_vision" else 12, patch_size=6)
    assert config.model_type == kind
    torch.manual_seed(0)
    model = model_class(config).eval()
    embeddings = next(module for module in model.modules() if hasattr(module, name))
    pixels, seen = torch.randn(1, 3, 12, 12), []
    handle = embeddings.register_forward_hook(
        lambda module, args, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        model(pixels)
        getattr(embeddings, name).add_(1.0)
        model(pixels)
    handle.remove()
    changed = (seen[0] != seen[1]).any(dim=-1)
    assert changed.tolist() == [[True, *[False] * 4]]
