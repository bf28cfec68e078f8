"""What `src/todre/processing` and `geometry` take for granted of transformers' processors."""

from __future__ import annotations

import importlib.util
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from processing.kits import KITS
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, ProcessorMixin
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.image_transforms import get_resize_output_image_size as plain_size
from transformers.image_utils import ChannelDimension
from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize as resize_in_time
from transformers.models.idefics3.image_processing_pil_idefics3 import get_resize_output_image_size as longest_size
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import smart_resize as resize_strips
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size as pixtral_size
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as resize_clip
from transformers.models.smolvlm.video_processing_smolvlm import get_resize_output_image_size as smol_size
from transformers.utils import is_torchvision_available
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata, make_batched_metadata, make_batched_videos

PARTS = {"image_processor", "tokenizer", "video_processor"}
FIRST = ChannelDimension.FIRST


def picture(height, width):
    """An array of a picture's shape; only the shape is looked at."""
    return np.broadcast_to(np.zeros(1, dtype=np.uint8), (3, height, width))


def kit(model_type):
    return next(one for one in KITS if one.model_type == model_type)


class TestSizes:
    """Rules that say how large a picture is when the tower sees it: (height, width) in, (height, width) out."""

    @pytest.mark.parametrize("size", [(40, 90), (13, 300), (250, 250)])
    def test_qwens_rounds_to_cells_within_an_area(self, size):
        height, width = smart_resize(*size, factor=8, min_pixels=8 * 64, max_pixels=40 * 64)
        assert height % 8 == width % 8 == 0
        assert 8 * 64 <= height * width <= 40 * 64
        assert (height < width) == (size[0] < size[1])

    @pytest.mark.parametrize("size", [(40, 90), (250, 250)])
    def test_glms_and_qwen3s_count_frames_too(self, size):
        bounds = {"min_pixels": 8 * 64, "max_pixels": 90 * 64}
        for height, width in (
            resize_in_time(4, *size, temporal_factor=2, factor=8, **bounds),
            resize_clip(num_frames=4, height=size[0], width=size[1], temporal_factor=2, factor=8, **bounds),
        ):
            assert height % 8 == width % 8 == 0
            assert 8 * 64 <= 4 * height * width <= 90 * 64

    def test_paddles_makes_strips_a_cell_wide(self):
        height, width = resize_strips(3, 60, 8, min_pixels=64, max_pixels=10**6)
        assert height >= 8
        assert width > height

    def test_a_shortest_edge_keeps_the_aspect_ratio(self):
        assert plain_size(picture(40, 80), 20, default_to_square=False, input_data_format=FIRST) == (20, 40)

    def test_pixtrals_rounds_up_to_cells(self):
        assert pixtral_size(picture(30, 41), (64, 64), 8, FIRST) == (32, 48)
        assert pixtral_size(picture(30, 41), 64, 8, FIRST) == (32, 48)

    def test_idefics_scales_the_longest_edge(self):
        height, width = longest_size(picture(30, 60), 120)
        assert (height, width) == (60, 120)

    def test_smolvlms_takes_an_empty_frame(self):
        frame = torch.empty(30, 60, device="meta")
        assert smol_size(frame, resolution_max_side=120) == (60, 120)

    def test_the_best_canvas_wastes_least(self):
        canvases = [[24, 48], [48, 24], [48, 48]]
        assert tuple(select_best_resolution((20, 45), canvases)) == (24, 48)
        assert tuple(select_best_resolution((45, 44), canvases)) == (48, 48)

    def test_a_picture_is_fitted_into_its_canvas(self):
        assert tuple(get_patch_output_size(picture(20, 40), (24, 48), FIRST)) == (24, 48)
        assert tuple(get_patch_output_size(picture(10, 40), (24, 48), FIRST)) == (12, 48)


class TestParts:
    """A processor is put together from its parts where torchvision is absent."""

    def test_transformers_says_whether_torchvision_is_there(self):
        assert is_torchvision_available() == (importlib.util.find_spec("torchvision") is not None)

    @pytest.mark.parametrize("one", KITS, ids=str)
    def test_the_class_says_what_it_consists_of(self, one):
        """`todre.processing.assembly` gives a processor exactly these three."""
        from transformers.models.auto.processing_auto import processor_class_from_name

        stock = processor_class_from_name(one.processor["processor_class"])
        assert issubclass(stock, ProcessorMixin)
        assert set(stock.get_attributes()) == PARTS

    def test_it_is_made_of_parts_and_settings(self):
        names = list(inspect.signature(ProcessorMixin.from_args_and_dict).parameters)
        assert names[:2] == ["args", "processor_dict"]
        assert list(inspect.signature(ProcessorMixin.check_argument_for_proper_class).parameters)[1:] == [
            "argument_name",
            "argument",
        ]

    def test_its_settings_are_read_from_the_folder(self, tmp_path):
        folder = kit("qwen2_vl").write(tmp_path / "qwen2_vl")
        settings, _ = ProcessorMixin.get_processor_dict(folder, local_files_only=True)
        assert isinstance(settings, dict)

    def test_settings_for_clips_are_read_without_torchvision(self, tmp_path):
        folder = kit("qwen2_vl").write(tmp_path / "qwen2_vl")
        settings, _ = BaseVideoProcessor.get_video_processor_dict(str(folder), local_files_only=True)
        assert settings["patch_size"]

    def test_image_processors_come_with_pil(self, tmp_path):
        folder = kit("qwen2_vl").write(tmp_path / "qwen2_vl")
        part = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
        assert part.backend == "pil"
        assert type(part).__name__.endswith("Pil")
        assert {"patch_size", "merge_size", "temporal_patch_size", "size"} <= set(vars(part))

    def test_tokenizers_come_alone(self, tmp_path):
        one = kit("qwen2_vl")
        tokenizer = AutoTokenizer.from_pretrained(one.write(tmp_path / "qwen2_vl"), local_files_only=True)
        assert tokenizer.get_vocab() == one.vocabulary

    def test_a_processor_of_pictures_alone_needs_no_torchvision(self):
        from todre.tiny import checkpoint_path

        processor = AutoProcessor.from_pretrained(checkpoint_path(), local_files_only=True)
        assert {"image_processor", "tokenizer", "chat_template", "image_token", "patch_size"} <= set(dir(processor))

    def test_what_a_processor_always_hands_to_its_parts_is_a_dictionary(self):
        """`todre.geometry` puts it over the parts' own settings."""
        defaults = getattr(ProcessorMixin.valid_processor_kwargs, "_defaults", {})
        assert isinstance(defaults, dict)

    def test_templates_take_settings_for_the_processor(self):
        assert "processor_kwargs" in inspect.signature(ProcessorMixin.apply_chat_template).parameters


class TestClips:
    """Frames that were sampled before, and what is known of them."""

    def test_metadata_has_these_fields(self):
        facts = {"total_num_frames": 8, "fps": 4.0, "height": 2, "width": 3, "duration": 2.0}
        metadata = VideoMetadata(**facts, frames_indices=[0, 4])
        assert vars(metadata).items() >= (facts | {"frames_indices": [0, 4]}).items()

    def test_times_follow_from_indices_and_rate(self):
        metadata = VideoMetadata(total_num_frames=8, fps=4.0, frames_indices=[0, 4])
        assert [float(time) for time in metadata.timestamps] == [0.0, 1.0]

    def test_nested_clips_come_out_in_a_row(self):
        clip = np.zeros((2, 4, 6, 3), dtype=np.uint8)
        batch = make_batched_videos([[clip], [clip, clip]])
        assert [np.asarray(one).shape for one in batch] == [(2, 4, 6, 3)] * 3

    def test_each_clip_gets_its_metadata(self):
        clip = np.zeros((2, 4, 6, 3), dtype=np.uint8)
        given = [VideoMetadata(total_num_frames=8, fps=4.0, frames_indices=[0, 4])]
        (known,) = make_batched_metadata([clip], video_metadata=given)
        assert known.fps == 4.0
        (made_up,) = make_batched_metadata([clip], video_metadata=None)
        assert made_up.total_num_frames == 2


def test_the_stand_in_asks_for_nothing_else():
    """A stock processor reads settings off its video processor, and calls it."""
    from todre.processing.families import FAMILIES
    from todre.processing.video_stand_ins import PilVideoProcessor

    family = FAMILIES["LlavaOnevisionVideoProcessor"]
    settings = {**family.defaults, "size": {"height": 4, "width": 4}}
    clip = np.zeros((2, 6, 6, 3), dtype=np.uint8)
    out = PilVideoProcessor(settings, family)([clip], return_metadata=True)
    assert out["pixel_values_videos"].shape == (1, 2, 3, 4, 4)
    assert isinstance(out["video_metadata"][0], VideoMetadata | SimpleNamespace)
