"""Put the model together: tower, connector, and the decoder with its LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from todre.errors import LoadError
from todre.hf.checkpoint_facts import FEATURE_LAYER
from todre.smol.part import CONNECTOR, NEWLINE, Part
from todre.smol.tokenizer import IMAGE_ID, build_processor, build_tokenizer
from todre.smol.weights import load_base, plain_config
from todre.tiny import load as load_tiny
from todre.tiny.model import GRID, PINPOINTS

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, LlavaNextConfig, LlavaNextForConditionalGeneration


def build_config(vision: Any, text: LlamaConfig) -> LlavaNextConfig:
    """The model's config: tower, decoder, and the crops of `todre-tiny`."""
    from transformers import LlavaNextConfig

    return LlavaNextConfig(
        vision_config=vision,
        text_config=plain_config(text),
        image_token_id=IMAGE_ID,
        image_grid_pinpoints=PINPOINTS,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=True,
        **{FEATURE_LAYER: -2},
    )


def build_model(
    tensors: Mapping[str, torch.Tensor], rank: int, scale: float, base: Path | LlamaForCausalLM
) -> LlavaNextForConditionalGeneration:
    """The model with a trained part merged into it, in float32 evaluation mode.

    Args:
        tensors: of the part, by the names of its file, in any dtype.
        rank: of its LoRA.
        scale: factor of the LoRA's products; each projection's weight becomes W + scale · B A, computed in float32.
        base: the decoder's folder, or the decoder itself, which stays as it is.

    Raises:
        InvalidValueError: the tensors are no part, as `Part` says.
        LoadError: they do not fit the decoder or the tower, or the folder holds no decoder.
    """
    part = Part(tensors, rank, scale, seed=0, base_sha256="")
    decoder = load_base(base) if isinstance(base, Path) else base
    tiny, _ = load_tiny()
    state = {name: tensor for name, tensor in tiny.state_dict().items() if name.startswith("model.vision_tower.")}
    for name in CONNECTOR:
        state[f"model.multi_modal_projector.{name}"] = part.tensors[f"connector.{name}"]
    state[f"model.{NEWLINE}"] = part.tensors[NEWLINE]
    for name, tensor in _merged(decoder, part).items():
        whole = name.removeprefix("model.")
        state[f"model.language_model.{whole}" if name != "lm_head.weight" else name] = tensor
    return _filled(build_config(tiny.config.vision_config, decoder.config), state)


def _merged(decoder: LlamaForCausalLM, part: Part) -> dict[str, torch.Tensor]:
    """The decoder's weights in float32, with the LoRA added."""
    state = {name: tensor.detach().to("cpu", torch.float32) for name, tensor in decoder.state_dict().items()}
    for (layer, projection), (down, up) in part.factors().items():
        name = f"model.layers.{layer}.self_attn.{projection}.weight"
        if name not in state or state[name].shape != (up.shape[0], down.shape[1]):
            raise LoadError(f"The LoRA of layer {layer}'s {projection} does not fit the decoder; use its own.")
        state[name] = state[name] + part.scale * (up.to("cpu", torch.float32) @ down.to("cpu", torch.float32))
    return state


def _filled(config: LlavaNextConfig, state: dict[str, torch.Tensor]) -> LlavaNextForConditionalGeneration:
    """A model of a config, with these weights."""
    from transformers import LlavaNextForConditionalGeneration

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = LlavaNextForConditionalGeneration(config).to(torch.float32)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise LoadError(f"The trained part does not fit the decoder or the tower ({error}).") from error
    generation = model.generation_config
    generation.pad_token_id, generation.eos_token_id = config.text_config.pad_token_id, config.text_config.eos_token_id
    generation.bos_token_id = None
    ready: LlavaNextForConditionalGeneration = model.eval()
    return ready


def save_model(model: LlavaNextForConditionalGeneration, base: Path, folder: Path) -> None:
    """Write a model with its tokenizer and processor as `from_pretrained` reads it.

    Args:
        model: as `build_model` gives it.
        base: the decoder's folder, whose tokenizer it is.
        folder: a directory that exists; files of the same names are replaced.
    """
    model.save_pretrained(folder)
    build_processor(build_tokenizer(base)).save_pretrained(folder)
