"""Decoding after stage 1 compiled into one graph: no break, no second graph, the logits of decoding without one.

Graphs are captured and run as they are; what a CUDA graph forbids (reading the device, new buffers) is looked for.
"""

from __future__ import annotations

import oracles
import pytest
import tinymodels as tm
import torch
from transformers import DynamicCache, StaticCache
from upstream import CACHE

import todre

STEPS = 5


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch.compiler.set_stance("default")
    torch._dynamo.reset()


class Captured:
    """A backend that keeps the graphs it is given."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, example):
        self.graphs.append(graph)
        return graph.forward

    def targets(self):
        return {str(node.target) for graph in self.graphs for node in graph.graph.nodes}


def prompts(model, padded):
    if padded:
        return tm.ragged(model)
    return tm.batch(model, [tm.sample(model, 7, [tm.SIZES[0]], 6, seed=row) for row in range(2)])


@torch.no_grad()
def decode(model, inputs, cache, given, called=None):
    """Logits of the prompt's last column and of `STEPS` steps; `given` is the form of their masks."""
    mask, places = inputs["attention_mask"], tm.positions(inputs["attention_mask"])
    first = model(**inputs, position_ids=places, **{CACHE: cache}, logits_to_keep=1)
    logits, called = [first.logits], called or model
    place = places[:, -1:]
    for step in range(STEPS):
        if called is not model and step == 2 and given != "growing":
            torch.compiler.set_stance("fail_on_recompile")
        token = logits[-1][:, -1].argmax(-1, keepdim=True)
        mask, place = torch.cat([mask, torch.ones_like(token)], dim=1), place + 1
        masks = {"none": None, "growing": mask}
        if given == "laid out":  # what `generate` does before it calls a compiled model
            laid = model.prepare_inputs_for_generation(token, None, cache, mask, position_ids=place)
            masks[given] = laid["attention_mask"]
        logits.append(called(input_ids=token, attention_mask=masks[given], position_ids=place, **{CACHE: cache}).logits)
    return torch.cat(logits, dim=1)


def static(model, inputs):
    return StaticCache(config=model.config.text_config, max_cache_len=inputs["input_ids"].shape[1] + STEPS + 1)


@pytest.mark.parametrize(
    ("given", "padded", "positions"),
    [("none", False, "original"), ("laid out", True, "original"), ("laid out", False, "compact")],
)
def test_one_graph_for_all_steps(given, padded, positions):
    model = tm.build(layers=2)
    inputs = prompts(model, padded)
    backend = Captured()
    with todre.prune(model, todre.ToDRE(retain=0.2, stages=(1,), positions=positions)):
        dynamic = DynamicCache(config=model.config.text_config)
        expected = decode(model, inputs, dynamic, "growing")
        cache = static(model, inputs)
        compiled = torch.compile(model.__call__, fullgraph=True, backend=backend)
        got = decode(model, inputs, cache, given, compiled)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert len(backend.graphs) == 1
    assert not backend.targets() & {"item", "tolist", "nonzero", "_local_scalar_dense"}


def test_buffers_stay_where_they_are():
    model = tm.build(layers=2)
    inputs = prompts(model, padded=False)
    with todre.prune(model, todre.ToDRE(retain=0.2, stages=(1,))), torch.no_grad():
        cache = static(model, inputs)
        model(**inputs, **{CACHE: cache}, logits_to_keep=1)
        places = [(layer.keys.data_ptr(), layer.cumulative_length.data_ptr()) for layer in cache.layers]
        compiled = torch.compile(model.__call__, fullgraph=True, backend="aot_eager")
        for token in (7, 8):
            compiled(input_ids=torch.full((2, 1), token), **{CACHE: cache})
        assert [(layer.keys.data_ptr(), layer.cumulative_length.data_ptr()) for layer in cache.layers] == places
        assert int(cache.get_seq_length()) == inputs["input_ids"].shape[1] + 2


def test_a_growing_cache_compiles_into_one_graph_too():
    model = tm.build(layers=1)
    inputs = prompts(model, padded=True)
    backend = Captured()
    with todre.prune(model, todre.ToDRE(retain=0.2, stages=(1,))) as report:
        compiled = torch.compile(model.__call__, fullgraph=True, backend=backend)
        got = decode(model, inputs, DynamicCache(config=model.config.text_config), "growing", compiled)
    assert len(backend.graphs) == 2  # of the first length, and of any
    gone = oracles.from_report(report, inputs["input_ids"] == tm.IMAGE, 1)
    with oracles.mask_oracle(model, gone, inputs["attention_mask"]):
        expected = decode(model, inputs, DynamicCache(config=model.config.text_config), "growing")
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_generate_compiles_by_itself(monkeypatch):
    """As on an accelerator, where transformers compiles decoding with a static cache unasked."""
    from transformers import CompileConfig

    model = tm.build(layers=2)
    inputs = tm.ragged(model)
    config = CompileConfig(fullgraph=True, backend="eager", mode=None)
    config._compile_all_devices = True
    with todre.prune(model, todre.ToDRE(retain=0.2, stages=(1,))):
        expected = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        for _ in range(2):
            got = model.generate(
                **inputs, max_new_tokens=6, do_sample=False, cache_implementation="static", compile_config=config
            )
            assert torch.equal(got, expected)


@torch.no_grad()
@pytest.mark.parametrize("stages", [(1,), (1, 2)])
def test_nothing_stands_in_for_a_layer_while_decoding(stages):
    """Layers that hold different columns included, as long as no row is padded."""
    model = tm.build(layers=4)
    inputs = prompts(model, padded=False)
    layers = model.get_decoder().layers
    seen = []
    with todre.prune(model, todre.ToDRE(retain=0.2, threshold=1.0, layers=(2,), stages=stages)):
        layers[3].mlp.register_forward_pre_hook(lambda *_: seen.append(any("forward" in vars(each) for each in layers)))
        mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
        cache = getattr(model(**inputs, use_cache=True), CACHE)
        model(input_ids=torch.full((2, 1), 7), attention_mask=mask, **{CACHE: cache})
    assert seen == [True, False]


@torch.no_grad()
def test_cropping_twice_at_one_length_with_decoding_between():
    """The table's answer to the first crop is not handed out again for the second."""
    model = tm.build(layers=2)
    inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 8, seed=4)])
    length = inputs["input_ids"].shape[1] - 3
    with todre.prune(model, todre.ToDRE(retain=0.2, stages=(1,))):
        cache = getattr(model(**inputs, use_cache=True), CACHE)
        logits = []
        for _ in range(2):
            cache.crop(length - cache.get_seq_length())
            assert cache.get_seq_length() == length
            logits.append(model(input_ids=torch.tensor([[9]]), **{CACHE: cache}).logits)
    torch.testing.assert_close(*logits, atol=1e-6, rtol=0)
