"""Qwen-VL, GLM-V and their kin: cells of merged patches."""

import pytest
from geometry.oracle import check
from geometry.probes import MERGED, merged
from hypothesis import example, given, settings
from hypothesis import strategies as st

from todre.geometry import visual_token_boxes

PROMPTS = [[(40, 24)], [(90, 61), (25, 190)], [(7, 9)], [(6, 150)]]
sides = st.integers(1, 400)


@pytest.mark.parametrize("model_type", MERGED)
@pytest.mark.parametrize("sizes", PROMPTS, ids=str)
def test_merged_cells_are_where_the_pixels_come_from(model_type, sizes):
    probe = merged(model_type)
    assert check(probe, sizes) >= 4


@pytest.mark.parametrize("model_type", ["qwen2_vl", "glm4v", "paddleocr_vl", "video_llama_3"])
@settings(max_examples=25, deadline=None)
@given(sides, sides)
@example(3, 500)
def test_as_many_cells_as_the_processor_makes_for_any_size(model_type, width, height):
    probe = merged(model_type)
    if max(width, height) > 200 * min(width, height):
        return
    boxes = visual_token_boxes(probe.processor, probe.model.config, [(width, height)])
    processor = probe.processor.image_processor
    assert len(boxes) == processor.get_number_of_image_patches(height, width) // processor.merge_size**2
    assert sum(box.area for box in boxes) == pytest.approx(width * height)
