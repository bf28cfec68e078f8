"""The count of a whole prompt with pictures and clips against torch's own counter, to the last FLOP.

Towers attend within a frame or within a step in time; projectors see what is left after pooling or merging.
"""

import pytest
import torch
from processing.kits import KITS
from processing.media import clip, picture
from torch.utils.flop_counter import FlopCounterMode

from todre.flops import count_prompt
from todre.processing import apply, load_processor
from todre.timing import stopwatch

KIT = {kit.model_type: kit for kit in KITS}
QUESTION = {"type": "text", "text": "what is this ?"}
PROMPTS = {
    "clip": [clip(4, 40, 30)],
    "odd clip": [clip(3, 40, 30)],
    "two clips": [clip(4, 40, 30), clip(4, 50, 25, seed=1)],
    "picture": [picture(40, 30)],
    "both": [picture(40, 30), clip(4, 40, 30)],
}


def conversation(media):
    items = [
        {"type": "image", "image": one} if hasattr(one, "mode") else {"type": "video", "video": one} for one in media
    ]
    return [{"role": "user", "content": [*items, QUESTION]}]


def counted_and_mine(model_type, media, tmp_path):
    """(torch's count of one forward with logits of the last position, ours)."""
    kit = KIT[model_type]
    inputs, _ = apply(load_processor(kit.write(tmp_path)), conversation(media))
    model = kit.specimen.build("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad(), stopwatch(model) as watch:
        model(**inputs, logits_to_keep=1, use_cache=False)
    visual = (
        {model.config.image_token_id, model.config.video_token_id}
        if model_type != "internvl"
        else {model.config.image_token_id}
    )
    seen = sum(int((inputs["input_ids"] == token).sum()) for token in visual)
    text = inputs["input_ids"].shape[1] - seen
    mine = count_prompt(model.config, inputs, tiles=watch.tiles, text_tokens=text, visual_tokens=seen)
    return counter.get_total_flops(), mine


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("model_type", ["llava_onevision", "internvl", "qwen2_vl", "qwen3_vl"])
def test_clips_and_pictures(tmp_path, model_type, prompt):
    counted, mine = counted_and_mine(model_type, PROMPTS[prompt], tmp_path)
    assert mine.encoder > mine.projector > 0
    assert mine.total == counted


@pytest.mark.parametrize("prompt", ["clip", "odd clip", "two clips", "picture"])
def test_frames_that_are_pooled_before_the_projector(tmp_path, prompt):
    counted, mine = counted_and_mine("llava_next_video", PROMPTS[prompt], tmp_path)
    assert mine.total == counted


def test_what_cannot_be_counted_has_no_count(tmp_path):
    """Pictures and clips through one projector, differently; a projector that is not known."""
    assert counted_and_mine("llava_next_video", PROMPTS["both"], tmp_path / "a")[1] is None
    assert counted_and_mine("video_llava", PROMPTS["clip"], tmp_path / "b")[1] is None


def test_a_tower_of_any_size_without_sizes_has_no_count():
    config = KIT["qwen2_vl"].specimen.build("eager").config
    assert count_prompt(config, {}, tiles=3, text_tokens=5, visual_tokens=7) is None
