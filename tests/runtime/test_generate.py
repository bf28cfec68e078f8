"""Whole generations against the untouched model with the dropped columns masked, and against recomputation."""

from __future__ import annotations

import oracles
import pytest
import tinymodels as tm
import torch
from transformers import DynamicCache, StaticCache
from upstream import CACHE

import todre

NEW = 9
NO_IMAGE_TOKEN = {"suppress_tokens": [tm.IMAGE]}  # a random model may say it, and the untouched model then refuses
MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 20, "temperature": 0.8},
    "beams": {"do_sample": False, "num_beams": 3},
    "beam-sampling": {"do_sample": True, "num_beams": 3, "top_k": 30},
    "several": {"do_sample": True, "num_return_sequences": 3},
    "several-beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
}
METHODS = {
    "both-stages": todre.ToDRE(retain=0.2, threshold=1.0, layers=(5,)),
    "stage-1": todre.ToDRE(retain=0.2, stages=(1,)),
    "stage-2": todre.ToDRE(stages=(2,), threshold=1.0, layers=(4,)),
    "guarded": todre.ToDRE(retain=0.4, threshold=1.0, layers=(3, 5), ratio_over="last", ahead="layers", horizon=4),
}
FLOOR = {"floor": todre.ToDRE(retain=0.4, threshold=1.0, layers=(3, 5), ratio_over="last", ahead="candidates", floor=4)}


def visual_of(model, inputs):
    return inputs["input_ids"] == model.config.image_token_id


def run(model, inputs, **options):
    torch.manual_seed(11)
    return model.generate(**inputs, max_new_tokens=NEW, output_logits=True, return_dict_in_generate=True, **options)


def same(got, expected):
    assert torch.equal(got.sequences, expected.sequences)
    for mine, theirs in zip(got.logits, expected.logits, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["next-llama", "llava"])
@pytest.mark.parametrize("name", [*METHODS, *FLOOR])
@pytest.mark.parametrize("mode", MODES)
def test_generation_equals_the_mask_oracle(models, kind, name, mode):
    model = models(kind)
    inputs = tm.ragged(model)
    with todre.prune(model, (METHODS | FLOOR)[name]) as report:
        got = run(model, inputs, **MODES[mode])
    repeats = len(report.kept) // 3
    gone = oracles.from_report(report, visual_of(model, inputs), 8)
    padding = inputs["attention_mask"].repeat_interleave(repeats, 0)
    with oracles.mask_oracle(model, gone, padding):
        expected = run(model, inputs, **MODES[mode])
    same(got, expected)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("mode", MODES)
def test_keeping_everything_generates_the_same_bits(models, mode, backend):
    model = models(backend=backend)
    inputs = tm.ragged(model)
    expected = run(model, inputs, **MODES[mode])
    with todre.prune(model, todre.ToDRE(retain=1.0, threshold=0.0)):
        got = run(model, inputs, **MODES[mode])
    assert torch.equal(got.sequences, expected.sequences)
    assert all(torch.equal(a, b) for a, b in zip(got.logits, expected.logits, strict=True))


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("positions", ["original", "compact"])
@pytest.mark.parametrize("name", [*METHODS, *FLOOR])
def test_a_batch_generates_what_its_samples_generate(models, name, positions, backend):
    model = models(backend=backend)
    method = todre.ToDRE.from_dict((METHODS | FLOOR)[name].to_dict() | {"positions": positions})
    samples = [
        tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1),
        tm.sample(model, 4, [tm.SIZES[2], tm.SIZES[4]], 9, seed=2),
        tm.sample(model, 12, [], 5, seed=3),
    ]
    with todre.prune(model, method):
        together = run(model, tm.batch(model, samples), do_sample=False)
        for row, sample in enumerate(samples):
            alone = run(model, tm.batch(model, [sample]), do_sample=False)
            assert torch.equal(together.sequences[row, -NEW:], alone.sequences[0, -NEW:])
            for many, one in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(many[row], one[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*METHODS, *FLOOR])
@pytest.mark.parametrize("options", [{"prompt_lookup_num_tokens": 4}, {"assistant": True}])
def test_assisted_decoding_equals_greedy(models, name, options):
    model = models()
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    inputs["input_ids"][0, -8:-4] = inputs["input_ids"][0, -4:]  # a repetition, so that prompt lookup has drafts
    options = dict(options)
    if options.pop("assistant", None):
        options["assistant_model"] = models("next-mistral")
    with todre.prune(model, (METHODS | FLOOR)[name]) as report:
        greedy = run(model, inputs, do_sample=False)
        dropped = report.dropped_after_layer, report.kept, report.attention_ratios
        assisted = run(model, inputs, do_sample=False, **options)
        assert (report.dropped_after_layer, report.kept) == dropped[:2]
        for layer, ratios in report.attention_ratios[0].items():
            assert ratios.text_to_visual == pytest.approx(dropped[2][0][layer].text_to_visual, abs=1e-6)
    assert torch.equal(greedy.sequences, assisted.sequences)


def turns(model):
    """Two turns for a batch of two: the second brings a picture to each row, of different sizes."""
    first = tm.batch(
        model,
        [tm.sample(model, 7, [tm.SIZES[0]], 6, seed=1), tm.sample(model, 4, [tm.SIZES[2]], 9, seed=2)],
    )
    second = [tm.sample(model, 3, [tm.SIZES[4]], 5, seed=7), tm.sample(model, 2, [tm.SIZES[3]], 4, seed=8)]
    return first, second


def joined(model, first, answer, second):
    """The whole conversation, left-padded between the turns."""
    follow = tm.batch(model, second)
    return {
        "input_ids": torch.cat([first["input_ids"], answer, follow["input_ids"]], dim=1),
        "attention_mask": torch.cat(
            [first["attention_mask"], torch.ones_like(answer), follow["attention_mask"]], dim=1
        ),
    }, {key: value for key, value in follow.items() if key.startswith(("pixel", "image"))}


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("positions", ["original", "compact"])
@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_second_turn_on_the_same_cache_equals_the_mask_oracle(models, name, pictures, positions, backend):
    """With kept ids the oracle hides columns; with compact ids positions are given to it as well."""
    model = models(backend=backend)
    method = todre.ToDRE.from_dict(METHODS[name].to_dict() | {"positions": positions})
    first, second = turns(model)
    if not pictures:
        second = [tm.sample(model, 3, [], 5, seed=7), tm.sample(model, 2, [], 4, seed=8)]
    places = tm.positions(first["attention_mask"])
    with todre.prune(model, method) as report, torch.no_grad():
        cache = DynamicCache(config=model.config.text_config)
        one = model(**first, position_ids=places, **{CACHE: cache}, logits_to_keep=1)
        gone = oracles.from_report(report, visual_of(model, first), 8)
        answer = one.logits[:, -1].argmax(-1, keepdim=True)
        text, images = joined(model, first, answer, second)
        start = first["input_ids"].shape[1]
        whole = tm.positions(text["attention_mask"])
        decode = model(
            input_ids=answer,
            attention_mask=text["attention_mask"][:, : start + 1],
            position_ids=whole[:, start : start + 1],
            **{CACHE: cache},
        )
        got = model(
            input_ids=text["input_ids"][:, start + 1 :],
            attention_mask=text["attention_mask"],
            position_ids=whole[:, start + 1 :],
            **{CACHE: cache},
            **images,
        ).logits
        assert cache.get_seq_length() == text["input_ids"].shape[1]
    now = visual_of(model, text)
    visual_two = now.clone()
    visual_two[:, : start + 1] = False
    total = torch.zeros(2, 8, now.shape[1], dtype=torch.bool)
    total[:, :, :start] = gone
    if pictures:
        total |= oracles.from_report(report, visual_two, 8)
        for row, layer in enumerate(report.dropped_after_layer):
            if layer is not None:  # what fades drops the first turn's pictures too
                total[row, layer:, :start] |= now[row, :start]
    if positions == "compact":
        lost = total[:, 0].cumsum(1)
        whole = whole - lost
    assert total.any()
    seen_first = torch.zeros(2, 8, now.shape[1], dtype=torch.bool)
    seen_first[:, :, :start] = gone
    with torch.no_grad():
        reference = DynamicCache(config=model.config.text_config)
        with oracles.mask_oracle(model, seen_first, text["attention_mask"]):
            early = model(**first, position_ids=whole[:, :start], **{CACHE: reference})
            again = model(input_ids=answer, position_ids=whole[:, start : start + 1], **{CACHE: reference})
        with oracles.mask_oracle(model, total, text["attention_mask"]):
            expected = model(
                input_ids=text["input_ids"][:, start + 1 :],
                position_ids=whole[:, start + 1 :],
                **{CACHE: reference},
                **images,
            ).logits
    torch.testing.assert_close(one.logits[:, -1], early.logits[:, -1], atol=1e-5, rtol=0)
    torch.testing.assert_close(decode.logits, again.logits, atol=1e-5, rtol=0)
    real = (text["attention_mask"] == 1)[:, start + 1 :] & ~now[:, start + 1 :]
    torch.testing.assert_close(got[real], expected[real], atol=1e-5, rtol=0)


def test_generate_twice_on_one_cache(models):
    """The second call is given the whole text; only what is new is run."""
    model = models()
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    method = METHODS["both-stages"]
    follow = torch.randint(5, tm.VOCAB, (1, 6), generator=torch.Generator().manual_seed(9))
    with todre.prune(model, method) as report:
        cache = DynamicCache(config=model.config.text_config)
        one = model.generate(**inputs, **{CACHE: cache}, max_new_tokens=5, do_sample=False, **NO_IMAGE_TOKEN)
        text = torch.cat([one, follow], dim=1)
        two = model.generate(
            input_ids=text,
            attention_mask=torch.ones_like(text),
            **{CACHE: cache},
            max_new_tokens=5,
            do_sample=False,
            **NO_IMAGE_TOKEN,
        )
    gone = oracles.from_report(report, visual_of(model, inputs), 8)
    with oracles.mask_oracle(model, gone):
        full = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
        expected = model.generate(
            input_ids=text,
            attention_mask=torch.ones_like(text),
            **full,
            max_new_tokens=5,
            do_sample=False,
            **NO_IMAGE_TOKEN,
        )
    assert torch.equal(two, expected)
    assert (
        cache.layers[0].keys.shape[-2]
        == two.shape[1] - 1 - report.visual_tokens_before[0] + report.visual_tokens_after[0]
    )


@pytest.mark.parametrize("positions", ["original", "compact"])
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_static_cache_with_stage_one_equals_a_dynamic_one(models, backend, positions):
    model = models(backend=backend)
    inputs = tm.ragged(model)
    method = todre.ToDRE(retain=0.2, stages=(1,), positions=positions)
    with todre.prune(model, method):
        dynamic = run(model, inputs, do_sample=False)
        static = run(model, inputs, do_sample=False, cache_implementation="static")
    same(static, dynamic)
    after = run(model, inputs, do_sample=False, cache_implementation="static")
    same(after, run(model, inputs, do_sample=False))


@torch.no_grad()
def test_static_cache_without_a_ready_made_mask(models):
    model = models()
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    follow = torch.randint(5, tm.VOCAB, (1, 3), generator=torch.Generator().manual_seed(9))
    logits = []
    with todre.prune(model, todre.ToDRE(retain=0.2, stages=(1,))):
        for cache in (
            DynamicCache(config=model.config.text_config),
            StaticCache(config=model.config.text_config, max_cache_len=inputs["input_ids"].shape[1] + 8),
        ):
            model(**inputs, **{CACHE: cache})
            logits.append(model(input_ids=follow, **{CACHE: cache}).logits)
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


def test_static_cache_refuses_stage_two(models):
    model = models()
    inputs = tm.ragged(model)
    with todre.prune(model, todre.ToDRE(retain=0.2)), pytest.raises(todre.errors.UnsupportedInputError, match="static"):
        run(model, inputs, do_sample=False, cache_implementation="static")


@pytest.mark.parametrize("name", ["stage-1", "both-stages"])
def test_generation_without_a_cache(models, name):
    """Each step recomputes the prompt; with a threshold of 1 stage 2 decides the same each time."""
    model = models()
    inputs = tm.ragged(model)
    with todre.prune(model, METHODS[name]):
        cached = run(model, inputs, do_sample=False, **NO_IMAGE_TOKEN)
        recomputed = run(model, inputs, do_sample=False, use_cache=False, **NO_IMAGE_TOKEN)
    same(recomputed, cached)
