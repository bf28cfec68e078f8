"""The fifth stage: questions packed behind sets and clips give the stock logits; sketches; resuming; its first form."""

import numpy as np
import pytest
import torch

from todre import tiny
from todre.clips import clip_of_frames
from todre.processing import apply_batch, load_processor
from todre.scenes import make_clip, make_scene, make_set
from todre.scenes.motion import ask_motion
from todre.tiny import further, sketches, train
from todre.tiny.data import collate
from todre.tiny.further import FRAMES, SIDE, FurtherStage, build_further
from todre.tiny.order import UNPLACED, clip_start, hidden_and_order, set_start
from todre.tiny.packed_questions import ATTENTION, hidden_behind
from todre.tiny.sketches import cell_labels, clip_sketch, picture_sketch
from todre.tiny.stages import Slice
from todre.tiny.video_model import NEW_WORDS, build_video_model, export_video


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    """Symbols are fitted to fewer pictures than in training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "_SCENES", 3)
        yield


@pytest.fixture(scope="module")
def parts(few_scenes):
    return build_further(0, torch.device("cpu"))


@pytest.fixture(scope="module")
def processor(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("further") / "model"
    export_video(parts.model, parts.tokenizer, folder)
    return load_processor(folder)


def stock_logits(parts, processor, content, question):
    """Logits for the answer's tokens from one ordinary call on the chat template's text."""
    turn = {"role": "user", "content": [*content, {"type": "text", "text": question.text}]}
    inputs, _ = apply_batch(processor, [[turn]])
    length = inputs["input_ids"].shape[1]
    answer = torch.tensor([parts.encoder.encode(question.answer)])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    parts.model.set_attn_implementation("eager")
    try:
        return parts.model(**inputs).logits[0, length - 1 :]
    finally:
        parts.model.model.language_model.set_attn_implementation(ATTENTION)


@torch.no_grad()
def assert_packed_equals_stock(parts, processor, start, content, questions):
    text = collate([parts.encoder.pack(questions)])
    logits = parts.model.lm_head(hidden_behind(parts.model, start.embeds, text))
    for index, question in enumerate(questions):
        mine = (text.segments[0] == index) & (text.targets[0] >= 0)
        expected = stock_logits(parts, processor, content, question)
        torch.testing.assert_close(logits[0][mine], expected, atol=5e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [2, 3])
@torch.no_grad()
def test_packed_logits_behind_several_pictures_are_the_stock_models(parts, processor, count):
    shown = next(each for each in map(make_set, range(50)) if len(each.images) == count and len(each.questions) > 2)
    pixels = FurtherStage().processor(list(shown.images), return_tensors="pt")
    visual = torch.stack(list(parts.model.model.get_image_features(**pixels, return_dict=True).pooler_output))
    content = [{"type": "image", "image": image} for image in shown.images]
    assert_packed_equals_stock(parts, processor, set_start(parts, visual), content, shown.questions)


@torch.no_grad()
def test_packed_logits_behind_a_clip_are_the_stock_models(parts, processor):
    clip = make_clip(2, FRAMES, SIDE, event="moves")
    frames = list(clip.frames)
    visual = parts.model.model.get_video_features(FurtherStage().frame_pixels(frames), return_dict=True).pooler_output
    assert visual.shape[1] == FRAMES * 36
    asked = ask_motion(np.random.default_rng(0), clip.objects, "moves", ("moves", "mover", "moving"))
    content = [{"type": "video", "video": clip_of_frames(frames, 2.0)}]
    assert_packed_equals_stock(parts, processor, clip_start(parts, visual), content, asked)


@torch.no_grad()
def test_places_are_those_of_the_visual_tokens_alone_and_reading_them_changes_nothing(parts):
    width = parts.model.config.text_config.hidden_size
    start = set_start(parts, torch.randn(3, 7, width))
    prefix, label = len(parts.encoder.prefix), 3
    expected = [UNPLACED] * prefix
    for place in range(3):
        expected += [UNPLACED] * label + [place] * 7
    assert start.places[0].tolist() == expected
    assert clip_start(parts, torch.randn(1, 6, width)).places[0].tolist() == [UNPLACED] * prefix + [0, 0, 1, 1, 2, 2]
    text = collate([parts.encoder.pack(make_scene(0, "val").questions[:2])])
    hidden, order = hidden_and_order(parts, [start], text, 3)
    assert torch.equal(hidden, hidden_behind(parts.model, start.embeds, text))
    assert order > 0
    assert not parts.model.model.language_model.layers[3]._forward_hooks


def test_it_starts_as_the_shipped_model():
    """Bit for bit on single pictures: the prompt, the pixels and the logits."""
    model, tokenizer = build_video_model()
    first, processor = tiny.load()
    scene = make_scene(1, "val")
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": scene.questions[0].text}]}
    prompts = [
        tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True),
        processor.apply_chat_template([turn], add_generation_prompt=True),
    ]
    assert prompts[0] == prompts[1]
    batch = processor(images=scene.image, text=prompts[0], return_tensors="pt")
    assert tokenizer(prompts[0])["input_ids"] == processor.tokenizer(prompts[0])["input_ids"]
    known = first.config.text_config.vocab_size
    with torch.no_grad():
        assert torch.equal(model(**batch).logits[..., :known], first(**batch).logits)
    assert len(tokenizer) == known + len(NEW_WORDS) + 1 == model.config.text_config.vocab_size


def test_sketches_show_what_lies_where():
    things = make_scene(0, "train", SIDE).objects
    labels = cell_labels(things, 6, SIDE).reshape(6, 6, -1)
    for thing in things:
        row, column = int(thing.y * 6 / SIDE), int(thing.x * 6 / SIDE)
        assert labels[row, column, 5] == 1
    assert labels[..., 5].sum() <= len(things)
    assert picture_sketch(things, 6, SIDE).shape[0] == 42
    assert clip_sketch([things, things], 6, SIDE).shape[0] == 72
    assert clip_sketch([things], 6, SIDE)[:, -1].sum() == 0
    assert picture_sketch(things, 6, SIDE)[:, -1].sum() == 6


def test_symbols_explain_most_of_the_tokens(parts):
    assert 0.8 < parts.fitted.explained < 1.0


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_frozen_tower_and_a_gradient_for_all_that_is_trained(parts, progress):
    stage = FurtherStage(sets=1, clips=1, single_every=1)
    parts.model.requires_grad_(False)
    for module in stage.trained(parts).values():
        module.requires_grad_(True)
    loss, metrics = stage.loss(parts, Slice(10**8, 5, 1, progress=progress))
    loss.backward()
    assert all(parameter.grad is None for parameter in parts.model.model.vision_tower.parameters())
    assert all(p.grad is not None for p in parts.model.model.language_model.parameters())
    assert any(key.startswith("asked/clip-") for key in metrics)
    assert any(key.startswith("asked/set-") for key in metrics)
    parts.model.zero_grad(set_to_none=True)


def test_a_cut_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    stage = FurtherStage(sets=1, clips=1, single_every=2)
    monkeypatch.setattr(train, "ALL_STAGES", {**train.ALL_STAGES, "further": stage})
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()

    def trained(folder):
        made = train.Options("further", folder, 2, None, batch=1, lr=0.01, save_seconds=-1.0, log_every=1)
        return train.train_stage(made).model.state_dict()

    class Cut(Exception):
        pass

    def cutting(loss, optimizers, rate, processes, plain=train._update, updates=[]):  # noqa: B006
        if updates:
            raise Cut
        updates.append(plain(loss, optimizers, rate, processes))

    with monkeypatch.context() as patch:
        patch.setattr(train, "_update", cutting)
        with pytest.raises(Cut):
            trained(broken)
    first, again = trained(whole), trained(broken)
    started = build_video_model()[0].state_dict()
    for name in first:
        assert torch.equal(first[name], again[name]), name
        assert torch.equal(first[name], started[name]) == ("vision_tower" in name or name.endswith("newline")), name


def test_seeds_of_steps_and_splits_do_not_meet():
    seen = [set(further._seeds(Slice(4 * 10**8, step, 1, rank, 2), 18)) for step in range(4) for rank in range(2)]
    assert len(set().union(*seen)) == sum(map(len, seen))
