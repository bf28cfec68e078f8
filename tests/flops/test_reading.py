"""Shapes read off configs, by whatever names a release of transformers gives them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from families.specimens import all_specimens
from transformers import CONFIG_MAPPING, LlavaConfig, Qwen2VLConfig

from todre.errors import UnsupportedModelError
from todre.flops.config_shapes import shape_of


def test_a_towers_layers_may_be_called_depth():
    config = Qwen2VLConfig()
    vision = {name: getattr(config.vision_config, name) for name in ("embed_dim", "mlp_ratio", "patch_size")}
    vision |= {"model_type": "qwen2_vl", "in_channels": 3, "temporal_patch_size": 2, "spatial_merge_size": 2}
    older = SimpleNamespace(**vision, depth=7, num_attention_heads=16)
    text = config.get_text_config(decoder=True)
    whole = SimpleNamespace(model_type="qwen2_vl", vision_config=older, get_text_config=lambda decoder: text)
    assert shape_of(whole).vision.stack.layers == 7


@pytest.mark.parametrize("name", ["gemma4-full", "gemma4_unified"])
def test_layers_of_different_shapes_are_not_counted(name):
    model = next(one for one in all_specimens() if one.name == name).build("sdpa")
    with pytest.raises(UnsupportedModelError, match="layers of different shapes"):
        shape_of(model.config)


@pytest.mark.parametrize(
    ("tower", "more", "extra"),
    [
        ("clip_vision_model", {}, 1),
        ("siglip_vision_model", {}, 0),
        ("dinov2", {}, 1),
        ("dinov2_with_registers", {"num_register_tokens": 4}, 5),
        ("deit", {}, 2),
    ],
)
@pytest.mark.parametrize("strategy", ["default", "full"])
def test_a_tower_runs_on_its_cls_and_registers_too(tower, more, extra, strategy):
    vision = CONFIG_MAPPING[tower](image_size=28, patch_size=14, **more)
    config = LlavaConfig(vision_config=vision, vision_feature_select_strategy=strategy)
    shape = shape_of(config)
    assert (shape.vision.patches, shape.vision.extra_tokens) == (4, extra)
    assert shape.projector.extra_tokens == max(extra - (strategy == "default"), 0)
