"""Folders that lack something: one sentence, or pictures alone where that is all that is left."""

import json
import sys
from dataclasses import replace

import pytest
from processing.kits import KITS
from processing.media import clip, picture

from todre.errors import LoadError, MissingDependencyError, UnsupportedInputError
from todre.processing import apply, load_processor

KIT = {kit.model_type: kit for kit in KITS}
every_kit = pytest.mark.parametrize("kit", KITS, ids=str)


def user(*items):
    return [{"role": "user", "content": [*items, {"type": "text", "text": "what is this ?"}]}]


PICTURE = user({"type": "image", "image": picture(48, 48)})
CLIP = user({"type": "video", "video": clip(4, 40, 30)})


def sentence(caught, *words):
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "`."))
    for word in words:
        assert word in message


@every_kit
@pytest.mark.parametrize("layout", ["older", "newer"])
def test_no_tokenizer(kit, layout, tmp_path):
    folder = kit.write(tmp_path / "checkpoint", layout)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises((LoadError, MissingDependencyError)) as caught:
        load_processor(folder, name="org/name")
    sentence(caught, "org/name")


@every_kit
def test_no_image_settings(kit, tmp_path):
    folder = kit.write(tmp_path / "checkpoint")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(LoadError) as caught:
        load_processor(folder, name="org/name")
    sentence(caught, "org/name has no usable processor", "tokenizer.json")


def test_empty_folder(tmp_path):
    with pytest.raises(LoadError, match="no usable processor"):
        load_processor(tmp_path)


@pytest.mark.parametrize("file", ["processor_config.json", "preprocessor_config.json", "tokenizer.json"])
def test_damaged_file(file, tmp_path):
    folder = KIT["llava_onevision"].write(tmp_path / "checkpoint")
    (folder / file).write_text("{")
    with pytest.raises(LoadError) as caught:
        load_processor(folder)
    sentence(caught, "no usable processor")


def test_damaged_video_settings_leave_pictures(tmp_path):
    folder = KIT["llava_onevision"].write(tmp_path / "checkpoint")
    (folder / "video_preprocessor_config.json").write_text("{")
    processor = load_processor(folder)
    assert apply(processor, PICTURE)[0]["input_ids"].shape[1] > 8
    with pytest.raises(LoadError) as caught:
        apply(processor, CLIP)
    sentence(caught, "no usable settings for videos", "not a valid JSON")


@every_kit
def test_no_video_settings_leaves_pictures(kit, tmp_path):
    folder = kit.write(tmp_path / "checkpoint", "newer")
    content = json.loads((folder / "processor_config.json").read_text())
    del content["video_processor"]
    (folder / "processor_config.json").write_text(json.dumps(content))
    processor = load_processor(folder)
    assert apply(processor, PICTURE)[0]["input_ids"].shape[1] > 8
    with pytest.raises(LoadError) as caught:
        apply(processor, CLIP)
    sentence(caught, "no usable settings for videos", "video_preprocessor_config.json")


@every_kit
def test_unknown_video_processor_leaves_pictures(kit, tmp_path):
    folder = kit.write(tmp_path / "checkpoint", "newer")
    content = json.loads((folder / "processor_config.json").read_text())
    content["video_processor"]["video_processor_type"] = "NovelVideoProcessor"
    (folder / "processor_config.json").write_text(json.dumps(content))
    processor = load_processor(folder)
    assert apply(processor, PICTURE)[0]["input_ids"].shape[1] > 8
    with pytest.raises(MissingDependencyError) as caught:
        apply(processor, CLIP)
    sentence(caught, "NovelVideoProcessor", "torchvision", "todre[vlm]")


def test_other_families_are_put_together_for_pictures(tmp_path):
    special = {"<|image|>": 3, "<|video|>": 4, "<|begin_of_image|>": 5, "<|end_of_image|>": 6}
    glm = replace(
        KIT["qwen3_vl"],
        model_type="glm4v",
        special=special,
        image={**KIT["qwen3_vl"].image, "image_processor_type": "Glm4vImageProcessor"},
        video={**KIT["qwen3_vl"].video, "video_processor_type": "Glm4vVideoProcessor"},
        processor={"processor_class": "Glm4vProcessor"},
        wrap=("<|begin_of_image|><|image|><|end_of_image|>", "<|video|>"),
    )
    processor = load_processor(glm.write(tmp_path / "checkpoint"))
    inputs, _ = apply(processor, PICTURE)
    assert int((inputs["input_ids"] == 3).sum()) == int(inputs["image_grid_thw"].prod()) // 4 > 0
    with pytest.raises(MissingDependencyError) as caught:
        apply(processor, CLIP)
    sentence(caught, "Glm4vVideoProcessor", "torchvision")


@pytest.mark.parametrize(
    ("model_type", "size"), [("qwen2_vl", {"height": 9}), ("llava_onevision", {"longest_edge": 9})]
)
def test_size_that_cannot_be_followed(model_type, size, tmp_path):
    folder = KIT[model_type].write(tmp_path / "checkpoint", "newer")
    content = json.loads((folder / "processor_config.json").read_text())
    for name in ("size", "min_pixels", "max_pixels"):
        content["video_processor"].pop(name, None)
    content["video_processor"]["size"] = size
    (folder / "processor_config.json").write_text(json.dumps(content))
    with pytest.raises(LoadError) as caught:
        apply(load_processor(folder), CLIP)
    sentence(caught, "video settings have size", "cannot be followed")


def test_no_chat_template(tmp_path):
    folder = KIT["qwen2_vl"].write(tmp_path / "checkpoint")
    (folder / "chat_template.json").unlink()
    with pytest.raises(LoadError) as caught:
        apply(load_processor(folder), PICTURE)
    sentence(caught, "no chat template", "chat_template.jinja")


def test_smolvlm_without_num2words(tmp_path, monkeypatch):
    from transformers.models.smolvlm import processing_smolvlm

    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    folder = KIT["smolvlm"].write(tmp_path / "checkpoint")
    with pytest.raises(MissingDependencyError) as caught:
        load_processor(folder, name="org/name")
    sentence(caught, "org/name", "num2words", "todre[vlm]")


def test_sampling_and_files_are_not_the_stand_ins_work(tmp_path):
    stand_in = load_processor(KIT["qwen3_vl"].write(tmp_path / "checkpoint")).video_processor
    with pytest.raises(UnsupportedInputError, match="already sampled"):
        stand_in([[picture(8, 8)]], do_sample_frames=True)
    with pytest.raises(UnsupportedInputError, match="is a file"):
        stand_in(["clip.mp4"])


def test_processor_class_from_the_model_alone(tmp_path):
    """Checkpoints that name no processor class anywhere: it follows from the model's type."""
    folder = KIT["qwen2_vl"].write(tmp_path / "checkpoint")
    for file in ("preprocessor_config.json", "tokenizer_config.json"):
        content = json.loads((folder / file).read_text())
        content.pop("processor_class", None)
        (folder / file).write_text(json.dumps(content))
    processor = load_processor(folder)
    assert type(processor).__name__ == "Qwen2VLProcessor"
    assert apply(processor, CLIP)[0]["video_grid_thw"].tolist() == [[2, 8, 10]]


def test_code_of_a_checkpoint_runs_only_when_trusted(tmp_path):
    folder = KIT["qwen2_vl"].write(tmp_path / "checkpoint")
    content = json.loads((folder / "preprocessor_config.json").read_text())
    content["auto_map"] = {"AutoProcessor": "novel.NovelProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    (folder / "novel.py").write_text("raise RuntimeError('ran')\n")
    assert type(load_processor(folder)).__name__ == "Qwen2VLProcessor"
    assert not [name for name in sys.modules if name.endswith(".novel")]
    with pytest.raises(LoadError, match="ran"):
        load_processor(folder, trust_remote_code=True)
