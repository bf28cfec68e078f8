"""The shipped model for several pictures and clips: loads plainly, by name, small; the first model stays what it is."""

import hashlib

import pytest
import torch
from transformers import AutoModelForImageTextToText, LlavaNextVideoForConditionalGeneration

from todre import tiny
from todre.clips import clip_of_frames
from todre.loading.model import load
from todre.processing import apply_batch
from todre.scenes import make_clip, make_set
from todre.tiny.video_model import NEW_WORDS

FIRST = "ed43f09b4a18"


def test_it_is_small_safe_and_of_the_stock_class():
    folder = tiny.checkpoint_path(tiny.SHIPPED_VIDEO)
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert files["model.safetensors"] < 13_000_000
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    model, info = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(model) is LlavaNextVideoForConditionalGeneration


def test_the_tower_is_the_first_models():
    first = tiny.load()[0].state_dict()
    further = load(tiny.SHIPPED_VIDEO, device="cpu").model.state_dict()
    tower = [name for name in first if "vision_tower" in name]
    assert tower
    assert all(torch.equal(first[name], further[name]) for name in tower)
    assert not torch.equal(first["model.language_model.norm.weight"], further["model.language_model.norm.weight"])


def test_the_first_checkpoint_is_what_results_were_measured_on():
    from todre.evaluate.runner import model_sha256

    assert model_sha256(None).startswith(FIRST)
    assert model_sha256(tiny.SHIPPED) == model_sha256(None) != model_sha256(tiny.SHIPPED_VIDEO)
    assert len(hashlib.sha256().hexdigest()) == len(model_sha256(tiny.SHIPPED_VIDEO))


@pytest.mark.parametrize("name", tiny.names())
def test_every_shipped_model_loads_by_its_name(name):
    loaded = load(name, device="cpu")
    assert loaded.name == name
    assert loaded.path == tiny.checkpoint_path(name)


def test_words_pictures_and_frames_become_as_many_tokens_as_the_model_reads():
    loaded = load(tiny.SHIPPED_VIDEO, device="cpu")
    shown, clip = make_set(0, "test"), make_clip(0, 6, 96, "test")
    pictures = [{"type": "image", "image": image} for image in shown.images]
    frames = [{"type": "video", "video": clip_of_frames(list(clip.frames), 2.0)}]
    unknown = loaded.processor.tokenizer.unk_token_id
    for content, question in ((pictures, shown.questions[0]), (frames, clip.questions[0])):
        turn = {"role": "user", "content": [*content, {"type": "text", "text": question.text}]}
        inputs, _ = apply_batch(loaded.processor, [[turn]])
        counts = [int((inputs["input_ids"] == loaded.model.config.image_token_id).sum())]
        counts.append(int((inputs["input_ids"] == loaded.model.config.video_token_id).sum()))
        assert counts == ([300 * len(shown.images), 0] if content is pictures else [0, 216])
        assert unknown not in inputs["input_ids"]
        with torch.no_grad():
            assert torch.isfinite(loaded.model(**inputs).logits).all()
    assert unknown not in loaded.processor.tokenizer(" ".join(NEW_WORDS))["input_ids"]
