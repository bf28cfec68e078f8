"""The shipped model: loads plainly, processes without torchvision, counts its tokens, answers."""

import json
import re
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForImageTextToText

from todre import tiny
from todre.scenes import make_scene, questions, score


def words_of(text):
    return re.findall(r"\w+|[^\w\s]", text.lower())


def ask(model, processor, scene, text):
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
    batch = processor(images=scene.image, text=prompt, return_tensors="pt")
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=48, do_sample=False)
    return processor.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def test_weights_are_small_and_float16_and_safe():
    files = {file.name: file.stat().st_size for file in tiny.checkpoint_path().iterdir()}
    assert files["model.safetensors"] < 25_000_000
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]


def test_plain_from_pretrained_loads_every_weight():
    model, info = AutoModelForImageTextToText.from_pretrained(
        tiny.checkpoint_path(), dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(model).__name__ == "LlavaNextForConditionalGeneration"
    assert model.config.text_config.num_hidden_layers == 8
    assert model.config._attn_implementation in ("sdpa", "eager")


@pytest.mark.parametrize(
    ("size", "tokens"), [(192, 744), ((192, 96), 444), ((96, 192), 456), ((192, 144), 594), ((300, 200), 544)]
)
def test_visual_tokens_by_picture_size(shipped, size, tokens):
    model, processor = shipped
    scene = make_scene(0, "val", size)
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is the red star?"}]}
    prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
    batch = processor(images=scene.image, text=prompt, return_tensors="pt")
    assert int((batch["input_ids"] == model.config.image_token_id).sum()) == tokens
    features = model.model.get_image_features(batch["pixel_values"], batch["image_sizes"], return_dict=True)
    assert features.pooler_output[0].shape == (tokens, model.config.text_config.hidden_size)


def test_processor_needs_no_torchvision():
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from todre import tiny, scenes\n"
        "from transformers import AutoProcessor\n"
        "p = AutoProcessor.from_pretrained(tiny.checkpoint_path())\n"
        "b = p(images=scenes.make_scene(0).image, text='USER: <image> Is there a red star?', return_tensors='pt')\n"
        "print(tuple(b['pixel_values'].shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("(1, 5, 3, 96, 96)")


def test_every_word_of_every_question_but_one_is_known(shipped):
    """Only "or", which only the size question uses, is read as the unknown word; docs/tiny-model.md says so."""
    _, processor = shipped
    tokenizer = processor.tokenizer
    for seed in range(40):
        for question in make_scene(seed, "val").questions:
            for text in (question.text, question.answer):
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                unknown = [word for word, i in zip(words_of(text), ids, strict=True) if i == tokenizer.unk_token_id]
                assert unknown == (["or"] if question.task == "size" and text == question.text else [])
            assert tokenizer.decode(ids) == question.answer


def test_chat_template_handles_turns_and_plain_strings(shipped):
    _, processor = shipped
    image_turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What digit is shown?"}]}
    turns = [image_turn, {"role": "assistant", "content": "4"}, {"role": "user", "content": "What word is written?"}]
    text = processor.apply_chat_template(turns, add_generation_prompt=True)
    assert text.endswith("USER: <image> What digit is shown? ASSISTANT: 4 </s> USER: What word is written? ASSISTANT:")
    assert len(text.split("USER:")[0].split()) >= 20


def test_shipped_model_answers_well_above_chance(shipped):
    """A handful of `val` pictures per task; the model card has the real numbers."""
    model, processor = shipped
    right = {}
    for scene, question in questions(["colour", "shape", "size", "presence", "quadrant"], 12, "val", start=5000):
        prediction = ask(model, processor, scene, question.text)
        right.setdefault(question.task, []).append(score(question, prediction))
    everything = [mark for marks in right.values() for mark in marks]
    assert sum(everything) / len(everything) > 0.6, json.dumps(right)
