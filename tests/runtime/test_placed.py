"""Models whose layers are spread over devices, or whose weights wait elsewhere (device_map): same answers."""

from __future__ import annotations

import re

import accelerate
import loaded
import pytest
import tinymodels as tm
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from pseudodevices import Devices, place, put
from transformers import DynamicCache, LlavaNextForConditionalGeneration
from upstream import CACHE

import todre

LATE = todre.ToDRE(retain=0.3, threshold=1.0, layers=(3,))


@pytest.fixture(scope="module")
def inputs():
    return tm.ragged(tm.build(layers=loaded.LAYERS))


def spread(model, first):
    """Put decoder layers from `first` on, and the norm, on a second device, as device_map does."""
    for name, module in model.named_modules():
        layer = re.search(r"language_model\.layers\.(\d+)", name)
        second = (layer and int(layer[1]) >= first) or name.endswith("language_model.norm")
        device = "cuda:1" if second else "cuda:0"
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        for tensor in tensors:
            put(tensor, device)
        if tensors or not name or re.search(r"layers\.\d+$", name):
            hook = _Aligned(execution_device=torch.device(device), io_same_device=not name, skip_keys=CACHE)
            add_hook_to_module(module, hook, append=True)
    return model


class _Aligned(AlignDevicesHook):
    """Moves inputs as it does on real devices; weights say already where they are."""

    def init_hook(self, module):
        return module


def at_first(inputs):
    return {name: put(value.clone(), "cuda:0") for name, value in inputs.items()}


def assert_equal(got, expected):
    assert torch.equal(got.logits, expected.logits)
    assert torch.equal(got.tokens, expected.tokens)


def test_devices_refuse_to_mix():
    """The emulation itself can fail."""
    with Devices():
        here, there = torch.ones(2, device="cuda:0"), torch.ones(2, device="cuda:1")
        with pytest.raises(RuntimeError, match="same device, add"):
            here + there
        assert place(here + there.to("cuda:0")) == torch.device("cuda:0")
        assert (here[None].T.flatten().device, there.cpu().device.type) == (torch.device("cuda:0"), "cpu")


SPLITS = [(loaded.BOTH, first, backend) for first in (1, 2, 3, 4) for backend in ("sdpa", "eager")]


@pytest.mark.parametrize(("method", "first", "backend"), [*SPLITS, (loaded.FIRST, 2, "sdpa")])
def test_layers_on_two_devices(inputs, method, first, backend):
    """Stage 2 drops after the second layer: on the second device, where it starts, on the first, far from the norm."""
    expected = loaded.pruned(tm.build(backend=backend, layers=loaded.LAYERS), inputs, method)
    model = spread(tm.build(backend=backend, layers=loaded.LAYERS), first)
    with Devices():
        got = loaded.pruned(model, at_first(inputs), method)
        assert place(got.logits) == torch.device("cuda:0")
    assert_equal(got, expected)
    assert got.report.dropped_after_layer == expected.report.dropped_after_layer


@torch.no_grad()
def conversation(model, prompts):
    """Two turns with pictures on one cache, then beams over the first: what later layers cached must follow."""
    cache = DynamicCache(config=model.config.text_config)
    with todre.prune(model, LATE) as report:
        reply = [model(**prompt, **{CACHE: cache}).logits for prompt in prompts]
        reply.append(model.generate(**prompts[0], max_new_tokens=3, num_beams=2, do_sample=False))
    return reply, report


def test_a_second_picture_on_two_devices():
    model = tm.build(layers=loaded.LAYERS)
    prompts = [tm.batch(model, [tm.sample(model, 6, [tm.SIZES[index]], 7, seed=index)]) for index in (0, 4)]
    for prompt in prompts:
        del prompt["attention_mask"]
    expected, _ = conversation(model, prompts)
    placed = spread(tm.build(layers=loaded.LAYERS), 2)
    with Devices():
        got, _ = conversation(placed, [at_first(prompt) for prompt in prompts])
    for mine, other in zip(got, expected, strict=True):
        assert torch.equal(mine, other)


@pytest.fixture
def checkpoint(tmp_path):
    tm.build(layers=loaded.LAYERS).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def offloaded(model, kind, folder):
    if kind == "cpu":
        return accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    if kind == "disk":
        return accelerate.disk_offload(model, folder, execution_device=torch.device("cpu"))
    parts = {"model.language_model.layers.2": "disk", "model.language_model.layers.3": "disk", "": "cpu"}
    return accelerate.dispatch_model(model, parts, main_device="cpu", offload_dir=folder, force_hooks=True)


@pytest.mark.parametrize("kind", ["cpu", "disk", "some-layers"])
def test_offloaded_weights(tmp_path, kind):
    """With LLaVA-1.5: transformers cannot generate with LLaVA-NeXT whose newline embedding is offloaded."""
    untouched = tm.build("llava", layers=loaded.LAYERS)
    inputs = tm.ragged(untouched)
    expected, plain = loaded.pruned(untouched, inputs), loaded.prefill(untouched, inputs)
    model = offloaded(tm.build("llava", layers=loaded.LAYERS), kind, tmp_path)
    assert any(parameter.is_meta for parameter in model.get_decoder().parameters())
    loaded.prefill(model, inputs)
    before = loaded.state(model)
    assert_equal(loaded.pruned(model, inputs), expected)
    assert loaded.state(model) == before
    assert torch.equal(loaded.prefill(model, inputs), plain)


@pytest.mark.parametrize("where", ["cpu", "auto", "disk"])
def test_a_device_map_given_when_loading(inputs, checkpoint, tmp_path, where):
    options = {"cpu": {"device_map": "cpu"}, "auto": {"device_map": "auto"}}.get(where)
    if options is None:
        parts = {"model.vision_tower": "cpu", "model.multi_modal_projector": "cpu", "model.image_newline": "cpu"}
        parts |= {"model.language_model": "disk", "lm_head": "cpu"}
        options = {"device_map": parts, "offload_folder": str(tmp_path / "off")}
    model = LlavaNextForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, **options).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, tm.PAD
    expected = loaded.pruned(tm.build(layers=loaded.LAYERS), inputs)
    assert_equal(loaded.pruned(model, inputs), expected)
