"""answer: the same text as plain generate, honest timings, and a model left as it was."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import todre
from todre.clips import clip_of_frames
from todre.errors import InvalidValueError, LoadError, UnsupportedInputError
from todre.loading.model import load
from todre.methods.registry import create
from todre.running import QuestionWarning, Settings, answer, build_inputs, media_facts
from todre.scenes import make_scene
from todre.timing import Stopwatch, Timings, median_of, stopwatch

QUESTION = "Is there a red square in the picture?"


@pytest.fixture(scope="module")
def loaded():
    return load(device="cpu")


@pytest.fixture(scope="module")
def scene():
    return make_scene(3, "val", size=(120, 100)).image


def hooks(model):
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks), len(module.__dict__)) for module in model.modules()
    ]


def test_no_pruning_answers_as_generate_does(loaded, scene):
    inputs, prompt = build_inputs(loaded, [scene], QUESTION)
    with torch.inference_mode():
        tokens = loaded.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    expected = loaded.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    given = answer(loaded, [scene], QUESTION, todre.NoPruning(), Settings(max_new_tokens=6))
    assert given.text == expected.strip()
    assert given.new_tokens == tokens.shape[1] - inputs["input_ids"].shape[1]
    assert given.prompt == prompt
    assert prompt.count("<image>") == 1


def test_prompt_ids_are_the_processors_own(loaded, scene):
    """The template's text put through the processor by hand gives the same ids: nothing doubled, nothing lost."""
    inputs, prompt = build_inputs(loaded, [scene, scene], QUESTION)
    by_hand = loaded.processor(images=[scene, scene], text=prompt, return_tensors="pt")
    assert torch.equal(inputs["input_ids"], by_hand["input_ids"])
    assert torch.equal(inputs["pixel_values"], by_hand["pixel_values"])
    starts = (inputs["input_ids"] == loaded.processor.tokenizer.bos_token_id).sum()
    assert starts == 1


def test_model_is_left_as_it_was(loaded, scene):
    inputs, _ = build_inputs(loaded, [scene], QUESTION)
    loaded.model.generate(**inputs, max_new_tokens=2)  # transformers leaves something behind in its first call
    before = hooks(loaded.model)
    answer(loaded, [scene], QUESTION, todre.ToDRE(retain=0.2), Settings(max_new_tokens=2))
    assert hooks(loaded.model) == before
    with pytest.raises(RuntimeError, match="boom"), stopwatch(loaded.model):
        raise RuntimeError("boom")
    assert hooks(loaded.model) == before


def test_random_state_is_left_as_it_was(loaded, scene):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    answer(loaded, [scene], QUESTION, todre.RandomTokens(retain=0.2), Settings(max_new_tokens=2, seed=9))
    assert torch.equal(torch.rand(3), expected)


def test_stages_see_work_and_add_up(loaded, scene):
    given = answer(loaded, [scene], QUESTION, todre.ToDRE(retain=0.2), Settings(max_new_tokens=4, repeats=3, warm_up=1))
    t = given.timings
    assert min(t.encode, t.select, t.prefill, t.decode) > 0
    assert t.encode + t.select + t.prefill + t.decode + t.other == pytest.approx(t.total)
    assert t.decode_per_token == pytest.approx(t.decode / (given.new_tokens - 1))
    assert t.first_token <= t.total
    json.dumps(given.to_dict(), allow_nan=False)


def test_one_token_has_no_decode(loaded, scene):
    given = answer(loaded, [scene], QUESTION, todre.NoPruning(), Settings(max_new_tokens=1))
    assert given.timings.decode == 0
    assert given.timings.decode_per_token is None
    assert given.to_dict()["timings_ms"]["decode_per_token"] is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("vision_tower", {"encode": 1000.0, "first_token": 1000.0}),
        ("multi_modal_projector", {"encode": 1000.0, "first_token": 1000.0}),
        ("language_model", {"prefill": 1000.0, "decode": 2000.0, "decode_per_token": 1000.0, "first_token": 1000.0}),
    ],
)
def test_time_lands_in_its_stage(loaded, scene, monkeypatch, part, expected):
    """On a clock that only one part of the model moves, by a second a call, every stage is exact."""
    clock = [0.0]

    def tick(*_):
        clock[0] += 1000.0

    monkeypatch.setattr(Stopwatch, "now", lambda self: clock[0])
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", None)  # three tokens, whatever is answered
    handle = getattr(loaded.model.base_model, part).register_forward_hook(tick)
    try:
        given = answer(loaded, [scene], QUESTION, todre.NoPruning(), Settings(max_new_tokens=3))
    finally:
        handle.remove()
    assert given.new_tokens == 3
    got = given.timings.to_dict()
    got["prefill"] = round(got["prefill"] + got["select"], 1)  # the selection is timed by the pruning's own clock
    assert {name: got[name] for name in expected} == expected
    assert got["total"] == sum(expected[name] for name in ("encode", "prefill", "decode") if name in expected)


def test_flops_count_the_tiles_that_were_encoded(loaded):
    wide = answer(loaded, [Image.new("RGB", (192, 96))], QUESTION, todre.NoPruning(), Settings(max_new_tokens=1))
    square = answer(loaded, [Image.new("RGB", (192, 192))], QUESTION, todre.NoPruning(), Settings(max_new_tokens=1))
    assert square.flops.encoder * 3 == wide.flops.encoder * 5
    pruned = answer(loaded, [Image.new("RGB", (192, 192))], QUESTION, todre.ToDRE(), Settings(max_new_tokens=1))
    assert pruned.flops.selection > 0 == square.flops.selection
    assert pruned.flops.prefill.total < square.flops.prefill.total


def test_repeats_choose_the_median_run():
    runs = [Timings(1, 1, total - 2, 0, 0, None, total, total) for total in (9, 4, 6)]
    assert median_of(runs) is runs[2]
    assert median_of(runs[:2]) is runs[1]


def test_empty_question_and_no_image(loaded, scene):
    with pytest.raises(InvalidValueError, match="question is empty"):
        answer(loaded, [scene], " \n", todre.NoPruning())
    with pytest.raises(InvalidValueError, match="no image"):
        answer(loaded, [], QUESTION, todre.NoPruning())
    with pytest.raises(InvalidValueError, match="'<image>'"):
        answer(loaded, [scene], "<image> what?", todre.NoPruning())


def test_a_clip_and_a_model_for_pictures(loaded, scene):
    with pytest.raises(UnsupportedInputError, match="todre-tiny takes pictures and no clips"):
        build_inputs(loaded, [scene, clip_of_frames([scene, scene])], QUESTION)


def test_facts_of_pictures_and_clips_in_their_order(scene):
    small = Image.new("RGB", (8, 6))
    facts = media_facts([small, clip_of_frames([scene, scene], fps=2), scene])
    assert facts["media"] == ["image", "clip", "image"]
    assert [picture["size"] for picture in facts["images"]] == [[8, 6], [120, 100]]
    assert [(clip["frames"], clip["timestamps"], clip["size"]) for clip in facts["clips"]] == [
        (2, [0.0, 0.5], [120, 100])
    ]
    json.dumps(facts, allow_nan=False)


def test_unknown_words_warn_and_known_ones_do_not(loaded, scene, recwarn):
    build_inputs(loaded, [scene], QUESTION)
    assert not [w for w in recwarn if w.category is QuestionWarning]
    with pytest.warns(QuestionWarning, match="zeppelin"):
        build_inputs(loaded, [scene], "Is there a zeppelin?")


def test_no_chat_template(loaded, scene):
    processor = SimpleNamespace(chat_template=None, tokenizer=loaded.processor.tokenizer, image_token="<image>")
    bare = SimpleNamespace(processor=processor, name="some/model")
    with pytest.raises(LoadError, match="no chat template"):
        build_inputs(bare, [scene], QUESTION)


@pytest.mark.parametrize("field", ["max_new_tokens", "seed", "warm_up", "repeats"])
@pytest.mark.parametrize("value", [-1, 1.5, True, None])
def test_settings_are_checked(field, value):
    with pytest.raises(InvalidValueError, match=field):
        Settings(**{field: value})


def test_a_tower_that_was_shortened_costs_less(loaded):
    """Four crops of which two are left out: three of five tiles run through the layers, all five are projected."""
    picture, few = make_scene(3, "val").image, Settings(max_new_tokens=1)
    whole = answer(loaded, [picture], QUESTION, todre.NoPruning(), few)
    short = answer(loaded, [picture], QUESTION, create("crop-skip", retain=2), few)
    vision = loaded.model.config.vision_config
    tokens = (vision.image_size // vision.patch_size) ** 2 + 1
    assert short.to_dict()["tower_tokens"] == [[[tokens, 3]]] * vision.num_hidden_layers
    assert whole.to_dict()["tower_tokens"] == []
    embedding = 5 * 2 * (tokens - 1) * 3 * vision.patch_size**2 * vision.hidden_size
    assert short.flops.encoder - embedding == (whole.flops.encoder - embedding) * 3 // 5
    assert short.flops.projector == whole.flops.projector


def test_a_stopwatch_takes_the_clock_it_is_given(loaded, scene):
    inputs, _ = build_inputs(loaded, [scene], QUESTION)
    ticks = iter(range(100))
    with torch.inference_mode(), stopwatch(loaded.model, lambda: next(ticks)) as watch:
        loaded.model(**inputs)
    read = watch.timings(0.0)
    assert read.total == 1000 * (next(ticks) - 1)
    assert read.encode == 2000  # tower and projector, a tick between begin and end of each
