"""Tokens before a vision tower's patches, one row per tower's `model_type`.

A tower may have a [CLS], registers, both, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Leading:
    """The tokens of a vision tower that come before its patch tokens.

    Attributes:
        cls: True if token 0 is the one [CLS] that was trained to stand for the picture.
        others: number of other leading tokens: registers, a distillation token, or several class tokens.
    """

    cls: bool = False
    others: int = 0

    @property
    def count(self) -> int:
        """Number of leading tokens."""
        return int(self.cls) + self.others

    @property
    def kind(self) -> str:
        """Kind of leading tokens: `cls`, `cls+registers`, `registers` or `none`."""
        parts = (["cls"] if self.cls else []) + (["registers"] if self.others else [])
        return "+".join(parts) or "none"


def leading_of(vision_config: Any) -> Leading | None:
    """The leading tokens of a vision tower.

    Args:
        vision_config: the tower's config.

    Returns:
        The leading tokens; None where they are not known, or where the tower's states are no sequence of patches.
    """
    rule = TOWERS.get(getattr(vision_config, "model_type", None) or "")
    return None if rule is None else rule(vision_config)


def discarded_count(config: Any, arguments: dict[str, Any]) -> int:
    """How many first tokens of the tower a model leaves out of its visual tokens.

    Args:
        config: the model's config.
        arguments: arguments of the encoding call, which may name another feature strategy.
    """
    if config.model_type == "vipllava":  # always, and it has no setting for it
        return 1
    strategy = arguments.get("vision_feature_select_strategy") or getattr(
        config, "vision_feature_select_strategy", None
    )
    return int(strategy == "default")


Rule = Callable[[Any], Leading]
"""A function from a tower's config to its leading tokens."""


def _registers(config: Any) -> Leading:
    """One [CLS], then registers."""
    return Leading(True, int(getattr(config, "num_register_tokens", 0) or 0))


def _classes(config: Any) -> Leading:
    """Class tokens, then registers; only a single class token counts as a [CLS]."""
    classes = int(getattr(config, "n_cls_tokens", 0) or getattr(config, "num_cls_tokens", 0) or 0)
    registers = int(getattr(config, "num_registers", 0) or 0)
    return Leading(True, registers) if classes == 1 else Leading(False, classes + registers)


def _rows(rule: Rule, *model_types: str) -> dict[str, Rule]:
    """The same rule for several `model_type`s."""
    return dict.fromkeys(model_types, rule)


TOWERS: dict[str, Rule] = {
    **_rows(
        lambda config: Leading(True),
        "beit",
        "chinese_clip_vision_model",
        "clip_vision_model",
        "dinov2",
        "dpt",
        "internvl_vision",
        "mlcd",
        "mlcd_vision_model",
        "qianfan_ocr_vision",
        "vit",
        "vit_msn",
    ),
    **_rows(lambda config: Leading(True, 1), "deit"),  # a distillation token stands second
    **_rows(_registers, "dinov2_with_registers", "dinov3_vit", "sapiens2", "tipsv2_vision_model"),
    **_rows(_classes, "pixio", "radio"),
    **_rows(
        lambda config: Leading(),
        "aimv2_vision_model",
        "cohere_compass_vision",
        "cosmos3_edge_vision",
        "dots3_note_vision_encoder",
        "exaone4_5_vision",
        "glm4v_moe_vision",
        "glm4v_vision",
        "glm_ocr_vision",
        "hy_v4_vl_vision",
        "idefics3_vision",
        "ijepa",
        "janus_vision_model",
        "minimax_m3_vl_vision",
        "pixtral",
        "qwen2_5_omni_vision_encoder",
        "qwen2_5_vl_vision",
        "qwen2_vl_vision",
        "qwen3_5_moe_vision",
        "qwen3_5_vision",
        "qwen3_omni_moe_vision_encoder",
        "qwen3_vl_moe_vision",
        "qwen3_vl_vision",
        "siglip2_vision_model",
        "siglip_vision_model",
        "smolvlm_vision",
    ),
}
"""Towers that are a sequence of patches, by `model_type`.

`tests/families/test_towers.py` checks each tower.
"""

NOT_FOLLOWED = frozenset(
    {
        "data2vec-vision", "deepseek_ocr2_vision", "ernie4_5_vl_moe_vision", "gemma4_unified_vision", "gemma4_vision",
        "glm_image_vision", "got_ocr2_vision", "granite_docling_vision", "hunyuan_vl_vision", "idefics2_vision",
        "inkling2_vision", "kimi_k25_vision", "lfm3_vl_vision", "llama4_vision_model", "minicpm_ocr_vision",
        "minicpmv4_6_vision", "minicpmv4_7_vision", "molmo2_vision", "muse_glimmer_vision", "muse_spark_vision",
        "ovis2_vision", "paddleocr_vl_vision", "pp_chart2table_vision", "step3p5_vision", "video_llama_3_vision",
    }
)  # fmt: skip
"""Towers whose attention cannot be followed to visual tokens.

Their attention is of an unusual form, or their tokens come from a resampler or a convolution, or in another order.
"""

NO_PATCHES = frozenset(
    {
        "bit", "blip-2", "conditional_detr", "convnext", "convnextv2", "cvt", "d_fine", "dab-detr",
        "deformable_detr", "deimv2", "depth_pro", "detr", "dinat", "dinov3_convnext", "donut-swin", "edgetam",
        "edgetam_video", "edgetam_vision_model", "efficientloftr", "efficientnet", "focalnet", "gemma3n_vision",
        "glpn", "grounding-dino", "hgnet_v2", "hiera", "instructblip", "instructblipvideo", "kosmos-2", "levit",
        "lightglue", "lw_detr", "mask2former", "maskformer", "maskformer-swin", "mgp-str", "mm-grounding-dino",
        "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2", "omdet-turbo", "pe_video_encoder", "poolformer",
        "pp_doclayout_v3", "pp_doclayout_v4", "pp_ocrv5_mobile_rec", "pp_ocrv5_server_rec", "pp_ocrv6_medium_det",
        "pp_ocrv6_small_det", "pp_ocrv6_small_rec", "pp_ocrv6_tiny_rec", "pvt", "pvt_v2", "regnet", "resnet",
        "rf_detr", "rt_detr", "rt_detr_v2", "sam", "sam2", "sam2_hiera_det_model", "sam2_video",
        "sam2_vision_model", "sam3", "sam3_lite_text", "sam3_lite_text_text_model", "sam3_tracker",
        "sam3_tracker_video", "sam3_video", "sam3_vision_model", "sam3_vit_model", "sam_hq", "sam_hq_vision_model",
        "sam_vision_model", "segformer", "seggpt", "swiftformer", "swin", "swin2sr", "swinv2", "table-transformer",
        "textnet", "timesformer", "timm_backbone", "timm_wrapper", "uvdoc", "videomae", "videoprism",
        "videoprism_vision_model", "vit_mae", "vitdet", "vivit", "vjepa2", "yolos",
    }
)  # fmt: skip
"""Models that a config may name as a tower, though their states are no patches.

Their states are pyramids, convolutions, detections or shuffled patches (vit_mae), or they are video models or any
timm model.
"""
