"""The part of a CLIP tower's last layer that todre loads beside vLLM's: against the layer itself."""

import pytest
import torch
from transformers import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from todre.errors import UnsupportedModelError
from todre.tensors.attention import cls_attention, received_attention
from todre.vllm.last_layer import LastLayer

CONFIG = CLIPVisionConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, attn_implementation="eager"
)


def named(layer, number, infix=""):
    """A layer's weights as a checkpoint names them."""
    return {
        f"model.vision_tower.{infix}encoder.layers.{number}.{name}": weight
        for name, weight in layer.state_dict().items()
    }


@pytest.fixture
def layer():
    torch.manual_seed(0)
    made = CLIPEncoderLayer(CONFIG).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("infix", ["", "vision_model."])
def test_its_attention_is_the_layers_own(layer, infix):
    part = LastLayer(CONFIG, like=torch.zeros(1))
    taken = [part.take(name, weight) for name, weight in named(layer, 2, infix).items()]
    assert {name for name in taken if name} == {name for name, _ in part.named_parameters()}
    states = torch.randn(2, 10, 32)
    _, weights = layer.self_attn(layer.layer_norm1(states), output_attentions=True)
    torch.testing.assert_close(cls_attention(part(states, first_only=True)), weights[:, :, 0, 1:].mean(1))
    torch.testing.assert_close(cls_attention(part(states, first_only=False)), weights[:, :, 0, 1:].mean(1))
    torch.testing.assert_close(received_attention(part(states, first_only=False)), weights.mean((1, 2)))


def test_other_layers_and_other_weights_are_left_alone(layer):
    part = LastLayer(CONFIG, like=torch.zeros(1))
    before = {name: weight.clone() for name, weight in part.state_dict().items()}
    others = named(layer, 1) | {"language_model.layers.2.self_attn.q_proj.weight": torch.zeros(32, 32)}
    assert [part.take(name, weight) for name, weight in others.items()] == [None] * len(others)
    assert all(torch.equal(weight, before[name]) for name, weight in part.state_dict().items())


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(32, 32, dtype=torch.int8),
        torch.zeros(32, 32).to(torch.float8_e4m3fn),
        torch.zeros(4, 32),
    ],
)
def test_a_quantised_weight_is_refused(weight):
    name = "vision_tower.vision_model.encoder.layers.2.self_attn.q_proj.weight"
    with pytest.raises(UnsupportedModelError, match="is quantised"):
        LastLayer(CONFIG, like=torch.zeros(1)).take(name, weight)
