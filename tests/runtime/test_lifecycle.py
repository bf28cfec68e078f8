"""After the block the model is as it was, whatever happened inside it."""

from __future__ import annotations

import threading

import pytest
import tinymodels as tm
import torch
from transformers import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from upstream import CACHE, CHUNKS

import todre
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError

METHOD = todre.ToDRE(retain=0.2, threshold=1.0)


def state(model):
    """Everything that attaching could leave behind."""
    hooks = {}
    for name, module in model.named_modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            hooks[name, kind] = len(getattr(module, kind))
        hooks[name, "attributes"] = sorted(vars(module))
    return hooks, dict(ALL_ATTENTION_FUNCTIONS._local_mapping), dict(type(ALL_ATTENTION_FUNCTIONS)._global_mapping)


@torch.no_grad()
def prefill(model, inputs, **kwargs):
    return model(**inputs, position_ids=tm.positions(inputs["attention_mask"]), **kwargs)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_nothing_remains_after_the_block(backend):
    model = tm.build(backend=backend)
    inputs = tm.ragged(model)
    expected = prefill(model, inputs).logits
    before = state(model)
    with todre.prune(model, METHOD):
        prefill(model, inputs)
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert state(model) == before
    assert torch.equal(prefill(model, inputs).logits, expected)


@pytest.mark.parametrize("where", ["block", "decoder", "attention", "tower", "selection"])
def test_nothing_remains_after_an_exception(where, monkeypatch):
    model = tm.build()
    inputs = tm.ragged(model)
    expected = prefill(model, inputs).logits
    before = state(model)

    def fail(*args, **kwargs):
        raise RuntimeError("on purpose")

    handles = []
    if where == "decoder":
        handles = [model.get_decoder().layers[3].mlp.register_forward_pre_hook(fail)]
    if where == "attention":
        handles = [model.get_decoder().layers[6].self_attn.o_proj.register_forward_pre_hook(fail)]
    if where == "tower":
        handles = [model.model.vision_tower.encoder.layers[-1].self_attn.out_proj.register_forward_pre_hook(fail)]
    with pytest.raises(RuntimeError, match="on purpose"), todre.prune(model, METHOD):  # noqa: PT012
        if where == "selection":
            monkeypatch.setattr(todre.ToDRE, "select", fail)
        if where == "block":
            fail()
        prefill(model, inputs)
    for handle in handles:
        handle.remove()
    assert state(model) == before
    assert torch.equal(prefill(model, inputs).logits, expected)


def test_a_failed_attach_leaves_nothing():
    model = tm.build()
    before = state(model)
    with pytest.raises(InvalidValueError, match="layer 9"), todre.prune(model, todre.ToDRE(layers=(9,))):
        pass
    assert state(model) == before


def test_nested_blocks_are_refused_by_name():
    model = tm.build()
    with todre.prune(model, METHOD), pytest.raises(UnsupportedInputError, match="already being pruned by todre"):  # noqa: SIM117
        with todre.prune(model, todre.RandomTokens()):
            pass
    with todre.prune(model, todre.RandomTokens()):
        pass


def test_attach_and_detach():
    model = tm.build()
    inputs = tm.ragged(model)
    before = state(model)
    report = todre.attach(model, METHOD)
    prefill(model, inputs)
    assert report.prefills == 1
    todre.detach(model)
    assert state(model) == before
    with pytest.raises(InvalidValueError, match="not being pruned"):
        todre.detach(model)


def test_two_threads_prune_two_models():
    inputs = tm.ragged(tm.build())
    methods = [todre.ToDRE(retain=0.2, threshold=1.0), todre.ToDRE.v1(retain=0.4, threshold=1.0)]
    models = [tm.build(seed=seed) for seed in (0, 1)]
    expected = []
    for model, method in zip(models, methods, strict=True):
        with todre.prune(model, method):
            expected.append(prefill(model, inputs).logits)
    failures: list[str] = []
    barrier = threading.Barrier(2)

    def work(index):
        with todre.prune(models[index], methods[index]) as report:
            barrier.wait()
            for _ in range(12):
                got = prefill(models[index], inputs).logits
                if not torch.equal(got, expected[index]) or report.dropped_after_layer[0] is None:
                    failures.append(f"model {index}")

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not ALL_ATTENTION_FUNCTIONS._local_mapping


def test_two_threads_share_one_served_model():
    model = tm.build()
    prompts = [tm.batch(model, [tm.sample(model, 6, [tm.SIZES[index]], 5 + index, seed=index)]) for index in (0, 4)]
    todre.attach(model, METHOD)
    expected = [model.generate(**inputs, max_new_tokens=6, do_sample=False) for inputs in prompts]
    failures: list[int] = []

    def work(index):
        for _ in range(6):
            if not torch.equal(model.generate(**prompts[index], max_new_tokens=6, do_sample=False), expected[index]):
                failures.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    todre.detach(model)
    assert not failures


@torch.no_grad()
def test_two_conversations_do_not_mix():
    model = tm.build()
    prompts = [tm.batch(model, [tm.sample(model, 6, [tm.SIZES[index]], 5, seed=index)]) for index in (0, 4)]
    follow = torch.randint(5, tm.VOCAB, (1, 4), generator=torch.Generator().manual_seed(1))
    with todre.prune(model, METHOD):
        alone = []
        for inputs in prompts:
            cache = DynamicCache(config=model.config.text_config)
            model(**inputs, **{CACHE: cache})
            alone.append(model(input_ids=follow, **{CACHE: cache}).logits)
        caches = [DynamicCache(config=model.config.text_config) for _ in prompts]
        for inputs, cache in zip(prompts, caches, strict=True):
            model(**inputs, **{CACHE: cache})
        for cache, expected in zip(reversed(caches), reversed(alone), strict=True):
            assert torch.equal(model(input_ids=follow, **{CACHE: cache}).logits, expected)


def test_a_pruned_cache_is_refused_outside_the_block():
    model = tm.build()
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8)])
    with todre.prune(model, METHOD):
        cache = getattr(prefill(model, inputs, use_cache=True), CACHE)
    with pytest.raises(UnsupportedInputError, match="This KV cache was pruned"), torch.no_grad():
        model(input_ids=torch.tensor([[7]]), **{CACHE: cache})
    cache.reset()
    with torch.no_grad():
        model(input_ids=torch.tensor([[7]]), **{CACHE: cache})


def test_the_report_speaks():
    model = tm.build()
    inputs = tm.ragged(model)
    with todre.prune(model, METHOD) as report:
        assert "no picture" in str(report)
        prefill(model, inputs, use_cache=True)
    text = str(report)
    assert "visual tokens 88 → 18 (-79.5 %)" in text
    assert "all dropped after layer 7 of 8" in text
    assert "[2] no visual tokens" in text
    values = report.to_dict()
    assert values["attention_ratios"][0]["7"]["visual_to_text"] is None
    assert values["visual_tokens_after"] == [18, 24, 0]
    assert values["text_tokens"] == [13, 16, 17]
    import json

    assert json.loads(json.dumps(values)) == values


class TestRefusals:
    """Each names what was wrong and what to do."""

    def test_not_a_model(self):
        with pytest.raises(UnsupportedModelError, match="not a transformers model"):
            todre.attach(torch.nn.Linear(2, 2), METHOD)

    def test_not_a_method(self):
        with pytest.raises(InvalidValueError, match=r"todre\.ToDRE\(retain=0\.1\)"):
            todre.attach(tm.build(), "todre")

    def test_text_model(self):
        from transformers import LlamaConfig, LlamaForCausalLM

        tiny = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
        with pytest.raises(UnsupportedModelError, match="'llama' has no visual tokens"):
            todre.attach(LlamaForCausalLM(tiny), METHOD)

    def test_other_family(self):
        from transformers import BlipConfig, BlipForConditionalGeneration

        config = BlipConfig()
        config.text_config.num_hidden_layers = config.vision_config.num_hidden_layers = 1
        with torch.device("meta"):
            model = BlipForConditionalGeneration(config)
        with pytest.raises(UnsupportedModelError, match="'blip' cannot be pruned"):
            todre.attach(model, METHOD)

    def test_stage_2_without_a_layer_of_full_attention(self):
        model = tm.build("next-mistral")
        model.config.text_config.sliding_window = 16
        with pytest.raises(UnsupportedModelError, match=r"full attention.*stages=\(1,\)"):
            todre.attach(model, METHOD)

    def test_tower_without_cls(self):
        model = tm.build()
        model.config.vision_config.model_type = "siglip_vision_model"
        with pytest.raises(UnsupportedModelError, match="pivot='received'"):
            todre.attach(model, todre.ToDRE(pivot="cls"))

    def test_four_dimensional_mask(self):
        model = tm.build()
        inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8)])
        length = inputs["input_ids"].shape[1]
        inputs["attention_mask"] = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
        with todre.prune(model, METHOD), pytest.raises(UnsupportedInputError, match="4-D attention mask"):
            model(**inputs)

    def test_mask_of_the_last_turn_alone(self):
        model = tm.build()
        inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8)])
        with todre.prune(model, METHOD), pytest.raises(UnsupportedInputError, match="covers 3 tokens"):  # noqa: PT012
            cache = getattr(prefill(model, inputs, use_cache=True), CACHE)
            model(input_ids=torch.ones(1, 3).long(), attention_mask=torch.ones(1, 3), **{CACHE: cache})

    def test_quantised_cache(self):
        from transformers.cache_utils import Cache, DynamicSlidingWindowLayer

        model = tm.build()
        inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8)])
        cache = Cache(layers=[DynamicSlidingWindowLayer(sliding_window=8) for _ in range(8)])
        with todre.prune(model, METHOD), pytest.raises(UnsupportedInputError, match="DynamicSlidingWindowLayer"):
            model(**inputs, **{CACHE: cache})

    def test_features_from_outside_the_block(self):
        model = tm.build()
        inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8)])
        pictures = {key: inputs.pop(key) for key in ("pixel_values", "image_sizes")}
        with torch.no_grad():
            features = model.get_image_features(**pictures, return_dict=True)
        with todre.prune(model, METHOD), pytest.raises(UnsupportedInputError, match="encoded outside the block"):
            model(**inputs, mm_encoder_outputs={"image": features})

    @CHUNKS.mark
    def test_chunked_prefill(self):
        model = tm.build()
        inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8)])
        with todre.prune(model, METHOD), pytest.raises(UnsupportedInputError, match="prefill"):
            model.generate(**inputs, max_new_tokens=2, prefill_chunk_size=16)


def test_beams_select_once_per_sample(monkeypatch):
    model = tm.build()
    asked = []
    select = todre.ToDRE.select
    monkeypatch.setattr(todre.ToDRE, "select", lambda self, visual: asked.append(len(visual)) or select(self, visual))
    with todre.prune(model, METHOD):
        model.generate(**tm.ragged(model), max_new_tokens=2, num_beams=4, do_sample=False)
    assert asked == [88, 122]


@torch.no_grad()
def test_text_only_prompts_are_left_alone():
    model = tm.build()
    inputs = tm.batch(model, [tm.sample(model, 9, [], 3), tm.sample(model, 4, [], 3)])
    expected = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    with todre.prune(model, METHOD) as report:
        assert torch.equal(model.generate(**inputs, max_new_tokens=5, do_sample=False), expected)
    assert report.prefills == 0
