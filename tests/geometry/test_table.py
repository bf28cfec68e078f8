"""The table of layouts: what is refused and how, settings that processors override, counts from a config alone."""

from types import SimpleNamespace

import pytest
from geometry.cases import PICTURES
from geometry.probes import GRID, pictured, processor_class, tiny, with_processor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.geometry import LAYOUTS, ClipShape, Picture, count_visual_tokens, visual_token_boxes
from todre.geometry.table import RESAMPLED, layout_of

QWEN = processor_class("qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil")


def test_every_row_is_a_model_type_of_transformers():
    newer = {"lfm3_vl"}  # than the oldest release of transformers that is supported
    assert set(LAYOUTS) - newer <= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert set(RESAMPLED) <= {*MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, "instructblipvideo"}
    assert not set(RESAMPLED) & set(LAYOUTS)


@pytest.mark.parametrize("model_type", sorted(RESAMPLED))
def test_resampled_tokens_have_no_place(model_type):
    with pytest.raises(
        UnsupportedModelError, match=f"'{model_type}' have no place in the picture, because a resampler"
    ):
        layout_of(SimpleNamespace(model_type=model_type))


def test_an_unknown_family_is_refused_with_those_that_are_known():
    with pytest.raises(UnsupportedModelError, match=r"'florence2' come from is not known.*qwen2_5_vl"):
        layout_of(SimpleNamespace(model_type="florence2"))


def test_a_family_for_pictures_refuses_clips():
    probe = pictured(PICTURES["paligemma"])
    for name in ("paligemma", "llava_next", "gemma3", "mistral3", "aya_vision", "paddleocr_vl"):
        config = SimpleNamespace(model_type=name)
        with pytest.raises(UnsupportedModelError, match=f"'{name}' read pictures only; give single frames"):
            visual_token_boxes(probe.processor, config, [ClipShape(30, 20, 2)])


def test_a_processor_without_video_settings_says_so():
    processor = with_processor(QWEN(**GRID))
    config = tiny("qwen_vl", "qwen2_vl").config
    with pytest.raises(UnsupportedModelError, match=r"'qwen2_vl' has no settings for clips \(no video_processor\)"):
        visual_token_boxes(processor, config, [ClipShape(30, 20, 2)])


def test_sizes_that_the_processor_cannot_scale_are_named():
    config = tiny("qwen_vl", "qwen2_vl").config
    with pytest.raises(UnsupportedInputError, match="cannot scale 1000 × 2 pixels"):
        visual_token_boxes(with_processor(QWEN(**GRID)), config, [(1000, 2)])
    config = tiny("qwen_vl", "qwen3_vl").config
    videos = with_processor(video_processor=QWEN(**GRID))
    with pytest.raises(UnsupportedInputError, match=r"cannot scale 2 frame\(s\) of 1000 × 2 pixels.*less narrow"):
        visual_token_boxes(videos, config, [ClipShape(1000, 2, 2)])


def test_a_clip_of_one_frame_is_filled_up():
    """Processing repeats its last frame, so it has as many tokens as a clip of one group of frames."""
    config = tiny("qwen_vl", "qwen3_vl").config
    videos = with_processor(video_processor=QWEN(**GRID))
    alone, filled = (visual_token_boxes(videos, config, [ClipShape(64, 48, frames)]) for frames in (1, 2))
    assert [(box.left, box.top, box.right, box.bottom) for box in alone] == [
        (box.left, box.top, box.right, box.bottom) for box in filled
    ]


def test_a_clip_has_frames():
    with pytest.raises(InvalidValueError, match="0 sampled frames; sample at least one"):
        ClipShape(64, 64, 0)


def test_compressed_clips_are_refused():
    compressing = SimpleNamespace(**GRID, use_token_compression=True)
    config = SimpleNamespace(model_type="video_llama_3")
    with pytest.raises(UnsupportedModelError, match="use_token_compression=False"):
        visual_token_boxes(with_processor(video_processor=compressing), config, [ClipShape(30, 20, 2)])


def test_tiles_of_broken_tokens_are_refused():
    probe = pictured(PICTURES["internvl"])
    probe.processor.image_processor.size = {"height": 40, "width": 40}
    with pytest.raises(UnsupportedModelError, match="A tile of 40 pixels is no whole number of visual tokens of 12"):
        visual_token_boxes(probe.processor, probe.model.config, [(200, 30)])


def test_a_processor_whose_module_has_no_rule_says_so():
    part = SimpleNamespace(crop_to_patches=True, size={"height": 36, "width": 36}, min_patches=1, max_patches=2)
    config = tiny("internvl", "internvl").config
    with pytest.raises(UnsupportedModelError, match="SimpleNamespace has no get_optimal_tiled_canvas"):
        visual_token_boxes(with_processor(part), config, [(50, 50)])


@pytest.mark.parametrize(
    "outer",
    [
        {"images_kwargs": {"crop_to_patches": True}},
        {"valid_processor_kwargs": SimpleNamespace(_defaults={"images_kwargs": {"crop_to_patches": True}})},
    ],
)
def test_what_the_processor_always_hands_on_counts(outer):
    """Whether a processor keeps these settings as attributes, or as defaults of its keyword arguments."""
    probe = pictured(PICTURES["internvl, one tile"])
    config = probe.model.config
    plain = with_processor(probe.processor.image_processor)
    cropping = with_processor(probe.processor.image_processor, **outer)
    assert {box.kind for box in visual_token_boxes(plain, config, [(90, 60)])} == {"grid"}
    assert {box.kind for box in visual_token_boxes(cropping, config, [(90, 60)])} == {"crop", "thumbnail"}


def test_pictures_and_clips_of_one_prompt_follow_each_other():
    frames = SimpleNamespace(size={"height": 36, "width": 36}, do_resize=True)
    processor = with_processor(pictured(PICTURES["internvl, one tile"]).processor.image_processor, frames)
    config = tiny("internvl", "internvl").config
    boxes = visual_token_boxes(processor, config, [ClipShape(60, 30, 2), (50, 50), Picture(20, 10)])
    assert [box.image for box in boxes] == [0] * 18 + [1] * 9 + [2] * 9
    assert [box.frame for box in boxes] == [0] * 9 + [1] * 9 + [None] * 18
    assert (boxes[9].left, boxes[9].top, boxes[9].right, boxes[9].bottom) == (0, 0, 20, 10)


@pytest.mark.parametrize(("name", "count"), [("paligemma", 36), ("vipllava", 16), ("gemma3", 9), ("video_llava", 16)])
def test_counts_of_one_look_follow_from_the_config(name, count):
    config = tiny(*PICTURES[name].zoo).config
    assert count_visual_tokens(config) == (count, 1)
    assert count_visual_tokens(config, (640, 480)) == (count, 1)


@pytest.mark.parametrize("model_type", ["internvl", "qwen2_vl", "mistral3", "smolvlm", "fast_vlm"])
def test_counts_that_need_a_processor_are_refused(model_type):
    with pytest.raises(UnsupportedModelError, match=f"depends on the settings of the processor of '{model_type}'"):
        count_visual_tokens(SimpleNamespace(model_type=model_type, vision_config=SimpleNamespace(image_size=36)))


def test_fast_vlm_counts_as_its_processor_does():
    settings = {"size": {"shortest_edge": 128}, "crop_size": {"height": 128, "width": 128}}
    image_processor = processor_class("clip.image_processing_pil_clip:CLIPImageProcessorPil")(**settings)
    config = SimpleNamespace(model_type="fast_vlm")
    boxes = visual_token_boxes(with_processor(image_processor, patch_size=32), config, [(300, 200)])
    assert len(boxes) == (128 // 32) ** 2
    assert boxes[0].left == pytest.approx(300 * 32 / 192, abs=1)
    assert boxes[1].left - boxes[0].left == pytest.approx(50, abs=0.5)
