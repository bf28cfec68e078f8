"""Models inside what people wrap around them: the same answers through the wrapper and the model, or one sentence."""

from __future__ import annotations

import functools

import loaded
import peft
import pytest
import tinymodels as tm
import torch
import torch.distributed as dist
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from torch.nn.parallel import DistributedDataParallel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

import todre
from todre.errors import InvalidValueError, UnsupportedInputError, UnsupportedModelError
from todre.hf.wrappers import inner_model


@pytest.fixture(scope="module")
def inputs():
    return tm.ragged(tm.build(layers=loaded.LAYERS))


@pytest.fixture(scope="module")
def plain(inputs):
    """The model that nothing is wrapped around: untouched, and pruned."""
    model = tm.build(layers=loaded.LAYERS)
    return loaded.run(model, inputs), loaded.pruned(model, inputs)


@pytest.fixture(scope="module")
def group():
    """A process group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


def sharded(model):
    mesh = dist.device_mesh.init_device_mesh("cpu", (1,))
    for layer in model.get_decoder().layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def fully_sharded(model, original_parameters):
    policy = functools.partial(
        transformer_auto_wrap_policy, transformer_layer_cls={LlamaDecoderLayer, CLIPEncoderLayer}
    )
    device = torch.device("cpu")
    return FullyShardedDataParallel(
        model, auto_wrap_policy=policy, device_id=device, use_orig_params=original_parameters
    )


def with_checkpointed_layers(model):
    layers = model.get_decoder().layers
    for index, layer in enumerate(layers):
        layers[index] = checkpoint_wrapper(layer)
    return model


WRAPPERS = {
    "DistributedDataParallel": DistributedDataParallel,
    "fully_shard": sharded,
    "FSDP": functools.partial(fully_sharded, original_parameters=True),
    "FSDP-flat": functools.partial(fully_sharded, original_parameters=False),
    "checkpoint_wrapper": with_checkpointed_layers,
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_distributed_wrappers(group, inputs, plain, name):
    model = tm.build(layers=loaded.LAYERS)
    wrapper = WRAPPERS[name](model)
    loaded.prefill(wrapper, inputs)  # transformers and FSDP add hooks of their own the first time
    before = loaded.state(wrapper)
    untouched, expected = plain
    for pruned in (wrapper, model):
        with todre.prune(pruned, loaded.BOTH) as report:
            for called in (wrapper, model) if name == "DistributedDataParallel" else (wrapper,):
                got = loaded.run(called, inputs, generating=model)
                assert torch.equal(got.logits, expected.logits)
                assert torch.equal(got.tokens, expected.tokens)
        assert report.kept == expected.report.kept
        assert report.dropped_after_layer == expected.report.dropped_after_layer
    assert loaded.state(wrapper) == before
    assert torch.equal(loaded.prefill(wrapper, inputs), untouched.logits)


ADAPTERS = {
    "lora": peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    "lora-everywhere": peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    "dora": peft.LoraConfig(r=4, target_modules="all-linear", use_dora=True, init_lora_weights=False),
    "ia3": peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "oft": peft.OFTConfig(oft_block_size=4, target_modules=["q_proj", "o_proj"], init_weights=False),
    "loha": peft.LoHaConfig(r=2, target_modules="all-linear", init_weights=False),
}


def adapted(name):
    """(model, PEFT's wrapper) with an adapter whose weights are not those that do nothing."""
    torch.manual_seed(7)
    model = tm.build(layers=loaded.LAYERS)
    task = {} if name == "lora" else {"task_type": "CAUSAL_LM"}
    wrapper = peft.get_peft_model(model, type(ADAPTERS[name])(**(ADAPTERS[name].to_dict() | task))).eval()
    with torch.no_grad():
        for key, weight in wrapper.named_parameters():
            if "ia3" in key:
                weight.add_(0.2 * torch.randn_like(weight))
    return model, wrapper


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_equal_the_mask_oracle(inputs, plain, name):
    model, wrapper = adapted(name)
    untouched = loaded.run(wrapper, inputs)
    before = loaded.state(wrapper)
    assert (untouched.logits - plain[0].logits).abs().max() > 1e-2
    got = loaded.pruned(wrapper, inputs)
    assert all(len(kept) for kept in got.report.kept[:2])
    loaded.assert_same(got, loaded.masked(wrapper, model, inputs, got.report), inputs)
    with todre.prune(model, loaded.BOTH):
        assert torch.equal(loaded.prefill(wrapper, inputs), got.logits)
        assert torch.equal(loaded.prefill(model, inputs), got.logits)
    assert loaded.state(wrapper) == before
    assert torch.equal(loaded.prefill(wrapper, inputs), untouched.logits)


def test_an_adapter_on_the_tower_leaves_its_saliency_readable(inputs):
    """Pivots come from the tower's attention, not from chance, whatever took the place of its projections."""
    _, wrapper = adapted("lora-everywhere")
    seen = []

    class Watching(todre.ToDRE):
        def select(self, visual):
            seen.append(visual.saliency)
            return super().select(visual)

    with todre.prune(wrapper, Watching(retain=0.2, stages=(1,))) as report:
        loaded.prefill(wrapper, inputs)
    assert all(bool(saliency.isfinite().any()) for saliency in seen)
    merged = wrapper.merge_and_unload()
    expected = loaded.pruned(merged, inputs, loaded.FIRST).report.kept
    assert report.kept == expected


def test_adapters_can_change_inside_the_block(inputs):
    _, wrapper = adapted("lora")
    wrapper.add_adapter("second", ADAPTERS["lora"])
    expected = {}
    for name in ("default", "second"):
        wrapper.set_adapter(name)
        expected[name] = loaded.pruned(wrapper, inputs)
    with todre.prune(wrapper, loaded.BOTH):
        for name in ("default", "second", "default"):
            wrapper.set_adapter(name)
            assert torch.equal(loaded.prefill(wrapper, inputs), expected[name].logits)


def test_adapters_of_several_kinds(inputs):
    torch.manual_seed(3)
    model = tm.build(layers=loaded.LAYERS)
    mixed = peft.PeftMixedModel(model, ADAPTERS["lora"], "one").eval()
    mixed.add_adapter("two", ADAPTERS["loha"])
    mixed.set_adapter(["one", "two"])
    with todre.prune(mixed, loaded.BOTH) as report:
        got = loaded.prefill(mixed, inputs)
    expected = loaded.masked(mixed, model, inputs, report, generating=model)
    columns = loaded.text(inputs)
    torch.testing.assert_close(got[columns], expected.logits[columns], atol=1e-5, rtol=0)


def test_wrappers_within_wrappers(group, inputs, plain):
    model = tm.build(layers=loaded.LAYERS)
    config = peft.LoraConfig(r=2, target_modules="all-linear")
    wrapper = torch.compile(DistributedDataParallel(peft.get_peft_model(model, config)), backend="eager")
    assert inner_model(wrapper) is model
    report = todre.attach(wrapper, loaded.BOTH)
    with pytest.raises(UnsupportedInputError, match="already being pruned"):
        todre.attach(model, loaded.BOTH)
    loaded.prefill(model, inputs)
    assert report.kept == plain[1].report.kept
    todre.detach(model)
    with pytest.raises(InvalidValueError, match="not being pruned"):
        todre.detach(wrapper)


class TestRefusals:
    """Each names what was wrong and what to do, and leaves nothing behind."""

    @pytest.fixture(autouse=True)
    def untouched(self):
        self.model = tm.build(layers=loaded.LAYERS)
        before = loaded.state(self.model)
        yield
        assert loaded.state(self.model) == before or hasattr(self.model, "peft_config")

    def refused(self, wrapper, sentence):
        with pytest.raises(UnsupportedModelError, match=sentence):
            todre.attach(wrapper, loaded.BOTH)
        assert not hasattr(self.model, "todre_attachment")

    def test_data_parallel(self):
        self.refused(torch.nn.DataParallel(self.model), "DataParallel runs copies.*use DistributedDataParallel")

    @pytest.mark.parametrize("kind", [peft.PromptTuningConfig, peft.PrefixTuningConfig])
    def test_virtual_tokens(self, kind):
        config = kind(task_type="CAUSAL_LM", num_virtual_tokens=3, num_layers=4, num_attention_heads=6, token_dim=48)
        self.refused(peft.get_peft_model(self.model, config), "TUNING puts virtual tokens.*such as LoRA")

    def test_adapters_that_start_at_a_column(self):
        config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", alora_invocation_tokens=[7, 8])
        self.refused(peft.get_peft_model(self.model, config), "counts columns of the prompt")

    def test_tensor_parallel(self):
        self.model._tp_size = 2
        try:
            self.refused(self.model, "split over 2 processes.*device_map")
        finally:
            del self.model._tp_size

    def test_a_wrapper_around_something_else(self):
        self.refused(torch.nn.DataParallel(torch.nn.Linear(2, 2)), "DataParallel")
        self.refused(torch.compile(torch.nn.Linear(2, 2), backend="eager"), "OptimizedModule is not a transformers")
