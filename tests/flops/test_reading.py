"""Shapes read off configs, by whatever names a release of transformers gives them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from families.specimens import all_specimens
from transformers import Qwen2VLConfig

from todre.errors import UnsupportedModelError
from todre.flops.reading import shape_of


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
