"""Clips through every family's processor, without torchvision: times, placeholders, batches, models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from processing.expected import CLIPS, PICTURES, clip_prompt, ids_of, prompt, qwen3_clip, smolvlm_clip
from processing.features import clip_features, count_columns, picture_features
from processing.kits import KITS, LAYOUTS
from processing.media import Frames, clip, picture
from processing.test_pictures import model_of

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.processing import apply, apply_batch, load_processor

TEXT = {"type": "text", "text": "what is this ?"}
every_kit = pytest.mark.parametrize("kit", KITS, ids=str)
KIT = {kit.model_type: kit for kit in KITS}
STACKING = ["llava_next_video", "llava_onevision", "video_llava", "internvl"]


def user(*clips, **pictures):
    media = [{"type": "video", "video": one} for one in clips]
    media += [{"type": "image", "image": one} for one in pictures.values()]
    return [{"role": "user", "content": [*media, TEXT]}]


@pytest.fixture
def load(tmp_path):
    def load(model_type, layout="older"):
        return load_processor(KIT[model_type].write(tmp_path / layout, layout))

    return load


def video_columns(model, inputs):
    kind = "video" if "pixel_values_videos" in inputs else "image"
    return count_columns(model, inputs["input_ids"], kind)


@pytest.mark.parametrize("layout", LAYOUTS)
@every_kit
def test_one_clip(load, kit, layout):
    processor, model = load(kit.model_type, layout), model_of(KITS.index(kit))
    for frames, expansion in CLIPS[kit.model_type].items():
        inputs, rendered = apply(processor, user(clip(frames, 40, 30)))
        assert rendered == clip_prompt(kit, kit.wrap[1])
        assert inputs["input_ids"].tolist() == [ids_of(kit, clip_prompt(kit, expansion))]
        assert video_columns(model, inputs) == len(clip_features(model, inputs))
        with torch.no_grad():
            assert model(**inputs).logits.isfinite().all()


@every_kit
def test_a_batch_is_its_singles(load, kit):
    processor, model = load(kit.model_type), model_of(KITS.index(kit))
    lengths = (3, 3, 3, 3) if kit.model_type in STACKING else (3, 4, 2, 5)
    clips = [clip(n, *size, seed=n) for n, size in zip(lengths, [(40, 30), (25, 50), (33, 33), (60, 20)], strict=True)]
    conversations = [user(clips[0], clips[1]), user(clips[2]), user(clips[3])]
    if kit.model_type == "smolvlm":  # its pixels have a row for each clip, and the frames of all are filled up
        conversations = [user(clips[0]), user(clips[2]), user(clips[3])]
    inputs, rendered = apply_batch(processor, conversations)
    singles = [apply(processor, one) for one in conversations]
    assert rendered == [one[1] for one in singles]
    for row, (single, _) in enumerate(singles):
        ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()].tolist()
        alone = single["input_ids"][0].tolist()
        if kit.model_type == "smolvlm":  # its introduction tells the number of frames of the batch's longest clip
            own = alone.index(kit.vocabulary["series"]) + 2
            assert alone[own] == kit.vocabulary[("three", "two", "five")[row]]
            alone[own] = kit.vocabulary["five"]
        assert ids == alone
    features = torch.cat([clip_features(model, single) for single, _ in singles])
    torch.testing.assert_close(clip_features(model, inputs), features, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("model_type", [name for name in KIT if name != "smolvlm"])
def test_pictures_and_clips_together(load, model_type):
    kit = KIT[model_type]
    processor, model = load(model_type), model_of(KITS.index(kit))
    size = next(iter(PICTURES[model_type]))
    both = user(clip(4, 40, 30), image=picture(*size))
    inputs, _ = apply(processor, both)
    expansion = CLIPS[model_type][4] + PICTURES[model_type][size]
    assert inputs["input_ids"].tolist() == [ids_of(kit, prompt(kit, expansion))]
    if model_type != "internvl":
        assert count_columns(model, inputs["input_ids"]) == len(picture_features(model, inputs))
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


def test_smolvlm_would_lose_the_pictures(load):
    with pytest.raises(UnsupportedInputError, match="pictures and clips together"):
        apply(load("smolvlm"), user(clip(2, 40, 30), image=picture(24, 24)))


@pytest.mark.parametrize("model_type", STACKING)
def test_clips_that_cannot_be_stacked(load, model_type):
    processor = load(model_type)
    with pytest.raises(UnsupportedInputError, match="Clips of 3, 4 frames"):
        apply_batch(processor, [user(clip(3, 40, 30)), user(clip(4, 40, 30))])
    with pytest.raises(UnsupportedInputError, match="Clips of 2, 5 frames"):
        processor.video_processor([np.zeros((2, 8, 8, 3), np.uint8), np.zeros((5, 8, 8, 3), np.uint8)])


class TestTimes:
    def test_qwen3_averages_the_frames_of_a_step(self, load):
        kit = KIT["qwen3_vl"]
        every_second = clip(4, 40, 30, fps=25.0, every=25)
        inputs, _ = apply(load("qwen3_vl"), user(every_second))
        assert inputs["input_ids"].tolist() == [ids_of(kit, prompt(kit, qwen3_clip(["0.5", "2.5"], 12)))]

    def test_frames_at_uneven_times(self, load):
        """Indices count at a constant rate; the timestamps are what is true of a file whose rate varies."""
        kit = KIT["qwen3_vl"]
        uneven = replace(clip(4, 40, 30, fps=10.0), timestamps=(0.0, 3.0, 7.0, 9.0), duration=10.0)
        inputs, _ = apply(load("qwen3_vl"), user(uneven))
        assert inputs["input_ids"].tolist() == [ids_of(kit, prompt(kit, qwen3_clip(["1.5", "8.0"], 12)))]

    def test_frames_that_a_mean_rate_would_put_together(self, load):
        """A slide show: three seconds of three frames, then one for twelve."""
        kit = KIT["qwen3_vl"]
        slides = replace(clip(4, 40, 30, fps=4 / 15), timestamps=(0.0, 1.0, 2.0, 3.0), duration=15.0)
        inputs, _ = apply(load("qwen3_vl"), user(slides))
        assert inputs["input_ids"].tolist() == [ids_of(kit, prompt(kit, qwen3_clip(["0.5", "2.5"], 12)))]

    def test_smolvlm_minutes(self, load):
        kit = KIT["smolvlm"]
        long = replace(clip(3, 40, 30, fps=24.0), timestamps=(0.0, 75.0, 3599.0), duration=3601.5)
        inputs, _ = apply(load("smolvlm"), user(long))
        times = smolvlm_clip(["00:00", "01:15", "59:59"], "three", "1:00:01")
        assert inputs["input_ids"].tolist() == [ids_of(kit, clip_prompt(kit, times))]

    def test_qwen2_5_seconds_of_a_step(self, load):
        inputs, _ = apply(load("qwen2_5_vl"), user(clip(4, 40, 30, fps=30.0, every=15)))
        assert torch.as_tensor(inputs["second_per_grid_ts"]).tolist() == pytest.approx([1.0])

    def test_qwen2_5_positions_follow_the_time(self, load):
        model = model_of(KITS.index(KIT["qwen2_5_vl"]))
        slow, fast = (apply(load("qwen2_5_vl"), user(clip(4, 40, 30, every=n)))[0] for n in (60, 15))
        second_steps = []
        for inputs in (slow, fast):
            names = ("input_ids", "video_grid_thw", "second_per_grid_ts", "attention_mask", "mm_token_type_ids")
            times = model.base_model.get_rope_index(**{name: inputs[name] for name in names})[0][0]
            times = times[inputs["input_ids"] == model.config.video_token_id].unique().tolist()
            second_steps.append(times[1] - times[0])
        assert second_steps == [8, 2]  # 4 seconds and 1 second, two positions for each


class TestRefusedClips:
    def test_not_a_clip(self, load):
        with pytest.raises(InvalidValueError, match="given as str, and a clip"):
            apply(load("qwen2_vl"), user("clip.mp4"))

    @pytest.mark.parametrize(
        ("frames", "timestamps", "fps"), [((), (), 30.0), ((picture(8, 8),), (), 30.0), ((picture(8, 8),), (0.0,), 0.0)]
    )
    def test_not_whole(self, load, frames, timestamps, fps):
        with pytest.raises(InvalidValueError, match="at least one frame, a timestamp for each"):
            apply(load("qwen2_vl"), user(Frames(frames, timestamps, fps, 1.0)))

    def test_frames_of_several_sizes(self, load):
        mixed = Frames((picture(8, 8), picture(9, 8)), (0.0, 1.0), 1.0, 2.0)
        with pytest.raises(InvalidValueError, match="several sizes"):
            apply(load("qwen2_vl"), user(mixed))

    def test_text_with_a_placeholder(self, load):
        marked = {"type": "text", "text": "what is <|video_pad|> ?"}
        conversation = [{"role": "user", "content": [{"type": "video", "video": clip(2, 40, 30)}, marked]}]
        with pytest.raises(InvalidValueError, match="holds '<\\|video_pad\\|>'"):
            apply(load("qwen2_vl"), conversation)


def test_grey_frames_become_rgb(load):
    grey = replace(clip(2, 40, 30), frames=tuple(frame.convert("L") for frame in clip(2, 40, 30).frames))
    colour = replace(grey, frames=tuple(frame.convert("RGB") for frame in grey.frames))
    processor = load("qwen2_vl")
    assert torch.equal(*(apply(processor, user(one))[0]["pixel_values_videos"] for one in (grey, colour)))
