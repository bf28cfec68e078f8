"""Pixels and layouts of frames against the definition, element by element."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.processing import frames, sizes
from todre.processing.families import FAMILIES
from todre.processing.settings import complete
from todre.processing.video_stand_ins import PilVideoProcessor

PLAIN = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "resample": 3}
MEAN, DEVIATION = [0.4, 0.5, 0.3], [0.2, 0.25, 0.3]
small = st.integers(1, 3)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("rescale", "normalise"), [(True, True), (True, False), (False, True), (False, False)])
def test_normalise_is_the_formula_in_float64(rescale, normalise):
    values = noise(2, 3, 5, 4)
    settings = {**PLAIN, "do_rescale": rescale, "do_normalize": normalise, "image_mean": MEAN, "image_std": DEVIATION}
    expected = values.astype(np.float64) / (255 if rescale else 1)
    if normalise:
        expected = (expected - np.array(MEAN)[:, None, None]) / np.array(DEVIATION)[:, None, None]
    found = frames.normalise(torch.from_numpy(values), settings)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_center_crop(height, width, crop_height, crop_width):
    """What is cut off or filled up is split evenly, the odd row or column behind."""
    frame = noise(height, width, 3, seed=height * 10 + width) | 1  # no pixel is black
    settings = {**PLAIN, "do_normalize": False, "do_rescale": False, "do_center_crop": True}
    settings["crop_size"] = {"height": crop_height, "width": crop_width}
    found = frames.pixels(frame[None], [], settings)[0].numpy()
    assert found.shape == (3, crop_height, crop_width)
    for size, crop, axis in ((height, crop_height, 1), (width, crop_width, 2)):
        inside = found.any(axis=(0, 3 - axis))
        before = max(0, (crop - size) // 2)
        assert inside.sum() == min(size, crop)
        assert inside[before : before + min(size, crop)].all()
    top, left = (max(0, (a - b) // 2) for a, b in ((height, crop_height), (width, crop_width)))
    kept = frame[top : top + min(height, crop_height), left : left + min(width, crop_width)].transpose(2, 0, 1)
    assert np.array_equal(found[:, found.any(axis=(0, 2))][:, :, found.any(axis=(0, 1))], kept)


def test_resizing_goes_through_the_sizes():
    frame = noise(20, 30, 3)
    settings = {**PLAIN, "do_normalize": False, "do_rescale": False}
    found = frames.pixels(frame[None], [(10, 15), (8, 8)], settings)[0]
    image = Image.fromarray(frame)
    for step in [(15, 20), (15, 10), (8, 10), (8, 8)]:
        image = image.resize(step, Image.Resampling.BICUBIC)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(image))


@given(st.integers(1, 6), small, small, st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_patches_hold_the_pixels_they_should(n_frames, rows, columns, merge, side, step):
    """Patch (time, row, column) of a clip, by slicing; merged neighbours stand together."""
    height, width = rows * merge * side, columns * merge * side
    clips = [torch.randn(n, 3, height, width) for n in (n_frames, n_frames + 1)]
    config = {"temporal_patch_size": step, "patch_size": side, "merge_size": merge}
    inputs = frames.cut_patches(clips, config)
    flat = iter(inputs["pixel_values_videos"])
    for clip, grid in zip(clips, inputs["video_grid_thw"].tolist(), strict=True):
        assert grid == [-(-len(clip) // step), rows * merge, columns * merge]
        for time in range(grid[0]):
            chosen = [clip[min(time * step + t, len(clip) - 1)] for t in range(step)]
            volume = torch.stack(chosen, dim=1)  # (3, step, h, w)
            for row in range(rows):
                for column in range(columns):
                    for inner_row in range(merge):
                        for inner_column in range(merge):
                            top, left = (row * merge + inner_row) * side, (column * merge + inner_column) * side
                            patch = volume[:, :, top : top + side, left : left + side]
                            assert torch.equal(next(flat), patch.flatten())
    assert next(flat, None) is None


def test_padding_keeps_what_is_there():
    clips = [torch.rand(2, 3, 4, 6) + 0.1, torch.rand(3, 3, 5, 4) + 0.1]
    inputs = frames.pad_clips(clips, {"do_pad": True})
    assert inputs["pixel_values"].shape == (2, 3, 3, 5, 6)
    assert inputs["pixel_attention_mask"].shape == (2, 3, 5, 6)
    for row, clip in enumerate(clips):
        n, _, height, width = clip.shape
        assert torch.equal(inputs["pixel_values"][row, :n, :, :height, :width], clip)
        assert inputs["pixel_values"][row].count_nonzero() == clip.numel()
        assert inputs["pixel_attention_mask"][row, 0].sum() == height * width
    with pytest.raises(UnsupportedInputError, match="Clips of 2, 3 frames"):
        frames.pad_clips(clips, {"do_pad": False})
    alike = frames.pad_clips([clips[0], clips[0]], {"do_pad": False})
    assert list(alike) == ["pixel_values"]
    assert alike["pixel_values"].shape == (2, 2, 3, 4, 6)


class TestSizes:
    @pytest.mark.parametrize(
        ("size", "height", "width", "expected"),
        [
            ({"height": 7, "width": 9}, 100, 50, (7, 9)),
            ({"shortest_edge": 10}, 20, 35, (10, 17)),
            ({"shortest_edge": 10}, 35, 20, (17, 10)),
            ({"shortest_edge": 10}, 3, 3, (10, 10)),
        ],
    )
    def test_fixed(self, size, height, width, expected):
        assert sizes.fixed({"size": size}, 4, height, width) == [expected]

    @pytest.mark.parametrize(
        ("version", "n_frames", "cap", "expected"),
        [
            # 160 x 320 pixels is 51200; of 8 x 8 patches two by two make one token, so sides are multiples of 16.
            (2, 4, False, (160, 320)),
            (2, 400, False, (160, 320)),  # areas are those of one frame
            (2, 4, True, (96, 192)),  # 0.9 · 160 tokens · 256 · 2 / 4 = 18432 pixels for each frame
            (2, 40, True, (64, 128)),  # the share is 1843, but never below 1.05 · 9216 = 9676 pixels
            (3, 4, False, (112, 224)),  # 110000 / 4 = 27500 pixels for each frame
            (3, 4, True, (112, 224)),  # 160 tokens are 40960 pixels: more than the share
            (3, 2, True, (128, 272)),  # and here they are less than 55000: 81920 pixels for two frames
            (3, 1, False, (160, 320)),  # counted as a whole step of two frames
        ],
    )
    def test_qwen(self, version, n_frames, cap, expected):
        row = FAMILIES[f"Qwen{version}VLVideoProcessor"]
        own = {"size": {"shortest_edge": 9216, "longest_edge": 110_000}, "patch_size": 8, "max_video_tokens": 160}
        settings = complete({**own, "cap_pixels_per_frame": cap}, row)
        assert row.fit(settings, n_frames, 160, 320) == [expected]

    def test_smolvlm_two_steps(self):
        settings = {"size": {"longest_edge": 100}, "max_image_size": {"longest_edge": 40}}
        assert sizes.smolvlm(settings, 3, 30, 60) == [(50, 100), (40, 40)]
        assert sizes.smolvlm(settings, 3, 61, 30)[0] == (100, 50)  # 49 becomes even
        square = {"size": {"height": 30, "width": 20}, "max_image_size": {"longest_edge": 40}}
        assert sizes.smolvlm(square, 3, 61, 30) == [(30, 20), (40, 40)]


class TestOlderSpellings:
    def test_numbers(self):
        full = complete({"size": 30, "crop_size": 20}, FAMILIES["VideoLlavaVideoProcessor"])
        assert full["size"] == {"shortest_edge": 30}
        assert full["crop_size"] == {"height": 20, "width": 20}

    @pytest.mark.parametrize(
        "written",
        [
            {"min_pixels": 100, "max_pixels": 900},
            {"size": {"min_pixels": 100, "max_pixels": 900}},
            {"size": {"shortest_edge": 100, "longest_edge": 900}},
            {"size": {"shortest_edge": 5, "longest_edge": 9}, "min_pixels": 100, "max_pixels": 900},
        ],
    )
    def test_qwen2_areas(self, written):
        full = complete(written, FAMILIES["Qwen2VLVideoProcessor"])
        assert full["size"] == {"shortest_edge": 100, "longest_edge": 900}

    def test_smolvlm_sampling(self):
        sampling = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 512}}
        row = FAMILIES["SmolVLMVideoProcessor"]
        full = complete({"video_sampling": sampling}, row)
        assert (full["num_frames"], full["fps"], full["size"]) == (64, 1, {"longest_edge": 512})
        assert complete({"video_sampling": sampling, "size": {"longest_edge": 9}}, row)["size"] == {"longest_edge": 9}

    def test_nothing_is_changed_in_place(self):
        written = {"size": {"shortest_edge": 5, "longest_edge": 9}, "min_pixels": 100}
        complete(written, FAMILIES["Qwen2VLVideoProcessor"])
        assert written == {"size": {"shortest_edge": 5, "longest_edge": 9}, "min_pixels": 100}
        assert FAMILIES["Qwen2VLVideoProcessor"].defaults["size"]["shortest_edge"] == 128 * 28 * 28

    def test_none_means_the_default(self):
        assert complete({"image_mean": None, "size": None}, FAMILIES["LlavaOnevisionVideoProcessor"])["image_mean"]


class TestStandIn:
    @pytest.fixture
    def stand_in(self):
        row = FAMILIES["LlavaOnevisionVideoProcessor"]
        return PilVideoProcessor(complete({"size": {"height": 8, "width": 8}}, row), row)

    def test_shapes_of_videos(self, stand_in):
        """A list of pictures, arrays with channels last or first, tensors; alone, listed, nested."""
        array = noise(2, 10, 12, 3)
        pictures = [Image.fromarray(frame) for frame in array]
        first = np.moveaxis(array, -1, 1)
        expected = stand_in(array)["pixel_values_videos"]
        assert expected.shape == (1, 2, 3, 8, 8)
        for form in (pictures, [pictures], [array], [[array]], first, [torch.from_numpy(first.copy())]):
            assert torch.equal(stand_in(form)["pixel_values_videos"], expected)

    @pytest.mark.parametrize("bad", [noise(2, 10, 12, 4), noise(2, 10, 12, 3) / 255.0, noise(0, 10, 12, 3)])
    def test_frames_that_are_no_rgb(self, stand_in, bad):
        with pytest.raises((InvalidValueError, ValueError)):
            stand_in([bad])

    def test_settings_for_one_call(self, stand_in):
        array = noise(2, 10, 12, 3)
        other = stand_in(array, size={"height": 4, "width": 6}, resample=None, return_tensors="pt")
        assert other["pixel_values_videos"].shape == (1, 2, 3, 4, 6)
        assert stand_in(array, do_resize=False)["pixel_values_videos"].shape == (1, 2, 3, 10, 12)
        assert stand_in.size == {"height": 8, "width": 8}
        with pytest.raises(UnsupportedInputError, match="clips have no setting 'novel'; leave it out, or use some of"):
            stand_in(array, novel=3)

    def test_pixels_by_their_other_names(self):
        row = FAMILIES["Qwen2VLVideoProcessor"]
        stand_in = PilVideoProcessor(complete({}, row), row)
        array = noise(4, 448, 448, 3)
        whole = stand_in(array)["video_grid_thw"]
        fewer = stand_in(array, min_pixels=784, max_pixels=50_176)["video_grid_thw"]
        named = stand_in(array, size={"shortest_edge": 784, "longest_edge": 50_176})["video_grid_thw"]
        assert torch.equal(fewer, named)
        assert int(fewer.prod()) < int(whole.prod())

    def test_attributes(self, stand_in):
        assert stand_in.resample == 3
        with pytest.raises(AttributeError, match="no attribute 'novel'"):
            _ = stand_in.novel
        assert stand_in.to_dict()["video_processor_type"] == "LlavaOnevisionVideoProcessor"

    def test_metadata_is_made_up_or_handed_through(self, stand_in):
        from transformers.video_utils import VideoMetadata

        array = noise(2, 10, 12, 3)
        assert stand_in(array, return_metadata=True)["video_metadata"][0].frames_indices == [0, 1]
        own = VideoMetadata(total_num_frames=9, fps=3.0, frames_indices=[4, 8])
        assert stand_in(array, video_metadata=[[own]], return_metadata=True)["video_metadata"][0].timestamps == [
            pytest.approx(4 / 3),
            pytest.approx(8 / 3),
        ]
        assert "video_metadata" not in stand_in(array)
