"""Checkpoint folders without weights, one per family: a word-level tokenizer, a chat template, scaled-down settings.

Sides, patches and special ids are those of the tiny models of the same families in `families.zoo`, so that what a
processor makes can be given to a model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from families.zoo import internvl, llava_next, llava_onevision, llava_towers, qwen3_5, qwen_vl, smolvlm
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]
_TEXT = """0 1 2 3 4 5 6 7 8 9 < > . : ? , [ ] - what is this here and then user assistant User Assistant seconds Frame
from You are provided the following series of one two three four five six frames a H MM SS video"""
WORDS = _TEXT.split()
FIRST_WORD = 20
SHARED = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 19}
PIXELS = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_convert_rgb": True,
}
CLIP_PIXELS = {**PIXELS, "resample": 3, "image_mean": CLIP_MEAN, "image_std": CLIP_STD}
HALF_PIXELS = {**PIXELS, "resample": 3, "image_mean": HALF, "image_std": HALF}
LAYOUTS = ("older", "newer")


@dataclass(frozen=True)
class Kit:
    """One family's folder.

    Attributes:
        model_type: of the specimen in the zoo.
        special: special tokens and their ids.
        named: names that the tokenizer gives to some of them.
        image: settings of the image processor, with its class; `video` those of the video processor, or None for
            checkpoints that have one file for both.
        processor: what the processor itself is made with, with its class.
        wrap: what the chat template writes for a picture and for a clip.
        specimen: the tiny model.
        bos: the chat template starts with <s>, which the tokenizer would add too.
        configured: config.json says the model's type; for some types transformers then takes a tokenizer of its own,
            which splits words in another way than this one.
    """

    model_type: str
    special: dict[str, int]
    image: dict[str, Any]
    video: dict[str, Any] | None
    processor: dict[str, Any]
    wrap: tuple[str, str]
    specimen: Any
    named: dict[str, str] = field(default_factory=dict)
    bos: bool = False
    configured: bool = True

    def __str__(self) -> str:
        return self.model_type

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token to id."""
        return {**SHARED, **self.special, **{word: FIRST_WORD + place for place, word in enumerate(WORDS)}}

    @property
    def template(self) -> str:
        """Role, colon, content; one line for each message."""
        picture, clip = self.wrap
        return (
            ("{{ bos_token }}" if self.bos else "")
            + "{% for message in messages %}{{ message['role'] }} : {% if message['content'] is string %}"
            "{{ message['content'] }}{% else %}{% for item in message['content'] %}{% if item['type'] == 'image' %}"
            + picture
            + "{% elif item['type'] == 'video' %}"
            + clip
            + "{% else %} {{ item['text'] }} {% endif %}{% endfor %}{% endif %}{{ '\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}assistant :{% endif %}"
        )

    def write(self, folder: Path, layout: str = "older") -> Path:
        """Write the files of a public checkpoint: of before processor_config.json held all settings, or of after."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer().save_pretrained(folder)
        if self.configured:
            _json(folder / "config.json", {"model_type": self.model_type})
        owner = {"processor_class": self.processor["processor_class"]}
        if layout == "newer":
            video = {**(self.video or self.image)}
            video.setdefault("video_processor_type", VIDEO_CLASSES[self.processor["processor_class"]])
            video.pop("image_processor_type", None)
            _json(
                folder / "processor_config.json",
                {**self.processor, "image_processor": self.image, "video_processor": video},
            )
            (folder / "chat_template.jinja").write_text(self.template, encoding="utf-8")
            return folder
        _json(folder / "preprocessor_config.json", {**self.image, **owner})
        if self.video is not None:
            _json(folder / "video_preprocessor_config.json", {**self.video, **owner})
        if set(self.processor) > set(owner):
            _json(folder / "processor_config.json", self.processor)
        _json(folder / "chat_template.json", {"chat_template": self.template})
        return folder

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Words, single digits, punctuation and special tokens; anything else is <unk>."""
        inner = Tokenizer(models.WordLevel(self.vocabulary, unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d|[^\W\d]+|[^\w\s]"), "removed", invert=True)
        inner.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in [*SHARED, *self.special]]
        )
        if self.bos:
            inner.post_processor = processors.TemplateProcessing(
                single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=inner,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            pad_token="<pad>",
            extra_special_tokens=self.named,
        )


def _json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")


def _zoo(specimens: list[Any], model_type: str, variant: str = "") -> Any:
    return next(one for one in specimens if (one.model_type, one.variant) == (model_type, variant))


VIDEO_CLASSES = {
    "LlavaNextVideoProcessor": "LlavaNextVideoVideoProcessor",
    "LlavaOnevisionProcessor": "LlavaOnevisionVideoProcessor",
    "VideoLlavaProcessor": "VideoLlavaVideoProcessor",
    "InternVLProcessor": "InternVLVideoProcessor",
    "Qwen2VLProcessor": "Qwen2VLVideoProcessor",
    "Qwen2_5_VLProcessor": "Qwen2VLVideoProcessor",
    "Qwen3VLProcessor": "Qwen3VLVideoProcessor",
    "SmolVLMProcessor": "SmolVLMVideoProcessor",
}
_TWO = {"<image>": 3, "<video>": 4}
_CROP24 = {
    **CLIP_PIXELS,
    "size": {"shortest_edge": 24},
    "crop_size": {"height": 24, "width": 24},
    "do_center_crop": True,
}
_QWEN = {"<|image_pad|>": 3, "<|video_pad|>": 4, "<|vision_start|>": 5, "<|vision_end|>": 6}
_QWEN_WRAP = ("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>")
_GRID = {"patch_size": qwen_vl.PATCH, "merge_size": qwen_vl.MERGE, "temporal_patch_size": qwen_vl.FRAMES}
_QWEN2_IMAGE = {
    **CLIP_PIXELS,
    **_GRID,
    "image_processor_type": "Qwen2VLImageProcessor",
    "min_pixels": 4 * 64,
    "max_pixels": 20 * 64,
}
_CELLS = {f"<row_{row}_col_{col}>": 8 + (row - 1) * 2 + (col - 1) for row in (1, 2) for col in (1, 2)}


def _qwen2(model_type: str, processor: str) -> Kit:
    """Qwen2-VL and Qwen2.5-VL have one file of settings for pictures and clips."""
    return Kit(
        model_type,
        _QWEN,
        _QWEN2_IMAGE,
        None,
        {"processor_class": processor},
        _QWEN_WRAP,
        _zoo(qwen_vl.SPECIMENS, model_type),
    )


def _qwen3(model_type: str, specimens: list[Any], variant: str = "") -> Kit:
    """Qwen3-VL and Qwen3.5 have one processor; the areas of clips are those of all frames together."""
    pixels = {**HALF_PIXELS, **_GRID}
    image = {"image_processor_type": "Qwen2VLImageProcessorFast", "size": {"shortest_edge": 256, "longest_edge": 1280}}
    video = {"video_processor_type": "Qwen3VLVideoProcessor", "size": {"shortest_edge": 1024, "longest_edge": 4096}}
    return Kit(
        model_type,
        _QWEN,
        {**pixels, **image},
        {**pixels, **video},
        {"processor_class": "Qwen3VLProcessor"},
        _QWEN_WRAP,
        _zoo(specimens, model_type, variant),
        configured=model_type != "qwen3_5",
    )


KITS = [
    Kit(
        "llava_next_video",
        _TWO,
        {
            **_CROP24,
            "image_processor_type": "LlavaNextImageProcessor",
            "image_grid_pinpoints": llava_next.PINPOINTS,
            "do_pad": True,
        },
        {**_CROP24, "image_processor_type": "LlavaNextVideoImageProcessor"},
        {
            "processor_class": "LlavaNextVideoProcessor",
            "patch_size": 6,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
            "image_token": "<image>",
            "video_token": "<video>",
        },
        ("<image>", "<video>"),
        _zoo(llava_next.SPECIMENS, "llava_next_video"),
        bos=True,
    ),
    Kit(
        "llava_onevision",
        _TWO,
        {
            **CLIP_PIXELS,
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "size": {"height": llava_onevision.SIDE, "width": llava_onevision.SIDE},
            "image_grid_pinpoints": llava_onevision.PINPOINTS,
            "do_pad": True,
        },
        {
            **CLIP_PIXELS,
            "image_processor_type": "LlavaOnevisionVideoProcessor",
            "size": {"height": llava_onevision.SIDE, "width": llava_onevision.SIDE},
        },
        {
            "processor_class": "LlavaOnevisionProcessor",
            "num_image_tokens": 25,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": f"anyres_max_{llava_onevision.CROPS}",
        },
        ("<image>", "<video>"),
        _zoo(llava_onevision.SPECIMENS, "llava_onevision"),
    ),
    Kit(
        "video_llava",
        _TWO,
        {**_CROP24, "image_processor_type": "VideoLlavaImageProcessor"},
        None,
        {
            "processor_class": "VideoLlavaProcessor",
            "patch_size": 6,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
        ("<image>", "<video>"),
        _zoo(llava_towers.SPECIMENS, "video_llava"),
        bos=True,
    ),
    Kit(
        "internvl",
        {"<IMG_CONTEXT>": internvl.IMAGE, "<img>": internvl.START, "</img>": internvl.END, "<video>": 6},
        {
            **CLIP_PIXELS,
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "size": {"height": internvl.SIDE, "width": internvl.SIDE},
            "crop_to_patches": False,
            "min_patches": 1,
            "max_patches": 4,
        },
        {
            **CLIP_PIXELS,
            "video_processor_type": "InternVLVideoProcessor",
            "size": {"height": internvl.SIDE, "width": internvl.SIDE},
        },
        {"processor_class": "InternVLProcessor", "image_seq_length": internvl.TOKENS},
        ("<IMG_CONTEXT>", "<video>"),
        _zoo(internvl.SPECIMENS, "internvl", "qwen2"),
        named={
            "context_image_token": "<IMG_CONTEXT>",
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "video_token": "<video>",
        },
    ),
    _qwen2("qwen2_vl", "Qwen2VLProcessor"),
    _qwen2("qwen2_5_vl", "Qwen2_5_VLProcessor"),
    _qwen3("qwen3_vl", qwen_vl.SPECIMENS),
    _qwen3("qwen3_5", qwen3_5.SPECIMENS, "full"),
    Kit(
        "smolvlm",
        {
            "<image>": smolvlm.IMAGE,
            "<fake_token_around_image>": smolvlm.FAKE,
            "<global-img>": smolvlm.GLOBAL,
            "\n": smolvlm.LINE,
            **_CELLS,
            "<video>": 12,
            "<end_of_utterance>": 13,
            "<|im_start|>": 14,
        },
        {
            **HALF_PIXELS,
            "resample": 1,
            "image_processor_type": "SmolVLMImageProcessor",
            "size": {"longest_edge": 2 * smolvlm.SIDE},
            "max_image_size": {"longest_edge": smolvlm.SIDE},
            "do_image_splitting": True,
            "do_pad": True,
            "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": smolvlm.SIDE}},
        },
        None,
        {"processor_class": "SmolVLMProcessor", "image_seq_len": smolvlm.TOKENS},
        ("<image>", "<video>"),
        _zoo(smolvlm.SPECIMENS, "smolvlm"),
    ),
]
