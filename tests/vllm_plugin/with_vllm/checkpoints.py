"""Small random checkpoints on disk that both vLLM and transformers load, one per family."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from families.zoo import llava, llava_next, qwen_vl
from families.zoo.parts import siglip_tower, stir
from families.zoo.specimen import finish
from processing.kits import _CROP24, _TWO, KITS, Kit
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, Qwen2Config

from todre.vllm.launch import ASPECT_RATIO

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
HEAD = 32
"""Size of a decoder's heads: the smallest that vLLM's attention on a CPU takes."""
_LLAVA = {"processor_class": "LlavaProcessor", "patch_size": 6, "vision_feature_select_strategy": "default"}


def _llava(siglip: bool) -> Kit:
    """LLaVA-1.5 with the CLIP tower of its checkpoints, or with a SigLIP tower, which has no [CLS]."""
    strategy = "full" if siglip else "default"
    return Kit(
        "llava",
        _TWO,
        {**_CROP24, "image_processor_type": "CLIPImageProcessor"},
        None,
        {**_LLAVA, "vision_feature_select_strategy": strategy, "num_additional_image_tokens": int(not siglip)},
        ("<image>", "<video>"),
        None,
    )


def _llava_model(siglip: bool) -> Any:
    torch.manual_seed(0)
    text = llava.text_settings()
    config = LlavaConfig(
        vision_config=siglip_tower(24, 6) if siglip else llava.clip_tower(),
        text_config=(Qwen2Config if siglip else LlamaConfig)(**text),
        vision_feature_select_strategy="full" if siglip else "default",
        vision_feature_layer=-1 if siglip else -2,
        image_token_id=3,
        attn_implementation="sdpa",
    )
    return LlavaForConditionalGeneration(config)


def _llava_next() -> tuple[Kit, Any]:
    video = next(kit for kit in KITS if kit.model_type == "llava_next_video")
    processor = {**video.processor, "processor_class": "LlavaNextProcessor"}
    processor.pop("video_token")
    kit = Kit("llava_next", _TWO, video.image, None, processor, ("<image>", "<video>"), None, bos=True)
    return kit, llava_next.build("sdpa")


def parts_of(name: str) -> tuple[Kit, Any]:
    """The processor's settings and the model of a checkpoint: a model type, or `llava-siglip`."""
    if name in ("llava", "llava-siglip"):
        return _llava(name == "llava-siglip"), _llava_model(name == "llava-siglip")
    if name == "llava_next":
        return _llava_next()
    kit = next(kit for kit in KITS if kit.model_type == name)
    if name in QWEN:
        kit = Kit(**{**vars(kit), "image": {**kit.image, **_areas(name, 200)}})
    if name == "internvl":
        kit = Kit(**{**vars(kit), "image": {**kit.image, "crop_to_patches": True}})
    model = kit.specimen.build("sdpa")
    if name == "llava_onevision":  # vLLM packs crops like this, whatever the config says
        kit = Kit(**{**vars(kit), "processor": {**kit.processor, "vision_aspect_ratio": ASPECT_RATIO}})
        model.config.vision_aspect_ratio = ASPECT_RATIO
    return kit, model


def _areas(name: str, most: int) -> dict[str, Any]:
    """Settings by which a picture has from 4 to `most` tokens."""
    least, largest = (count * (qwen_vl.PATCH * qwen_vl.MERGE) ** 2 for count in (4, most))
    if name == "qwen3_vl":
        return {"size": {"shortest_edge": least, "longest_edge": largest}}
    return {"min_pixels": least, "max_pixels": largest}


def write(name: str, folder: Path) -> Path:
    """Write a checkpoint with processor, tokenizer, chat template and random weights in float32."""
    kit, model = parts_of(name)
    kit.write(folder)
    config = copy.deepcopy(model.config)
    text = config.text_config
    text.hidden_size, text.head_dim = 2 * HEAD, HEAD
    text.num_attention_heads, text.num_key_value_heads = 2, 1
    if name in QWEN:
        text.rope_parameters = {**text.rope_parameters, "mrope_section": [4, 6, 6]}
        setattr(config.vision_config, "hidden_size" if name == "qwen2_vl" else "out_hidden_size", text.hidden_size)
    torch.manual_seed(1)
    wide = type(model)(config)
    stir(wide)
    if hasattr(wide.model, "image_newline"):
        torch.nn.init.normal_(wide.model.image_newline)
    finish(wide).save_pretrained(folder)
    return folder


def as_published(folder: Path, target: Path) -> Path:
    """The checkpoint with the tower's weights named as on the hub, where recent transformers name them shorter."""
    shutil.copytree(folder, target)
    for file in target.glob("*.safetensors"):
        weights = load_file(file)
        long = {
            re.sub(r"vision_tower\.(?!vision_model\.)", "vision_tower.vision_model.", name): weights[name]
            for name in weights
        }
        save_file(long, file, metadata={"format": "pt"})
    return target
