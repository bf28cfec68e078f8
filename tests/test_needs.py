"""What a load will take: counted from headers and config, compared with what is there, before anything is built."""

import json
import time

import pytest
import tinymodels as tm
import torch
from safetensors.torch import save_file

from todre.bench.presets import PRESETS
from todre.bench.random_models import build
from todre.errors import LoadError
from todre.loading import memory_needs as needs
from todre.loading.memory_needs import (
    MAX_PARTS,
    Weights,
    check_complete,
    check_counts,
    check_fits,
    configured_weights,
    stored_weights,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


def refuse(work, *words):
    before = time.process_time()
    with pytest.raises(LoadError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message
    assert time.process_time() - before < 5  # of this process alone: no weights were made


@pytest.fixture
def has(monkeypatch):
    """A machine with so many bytes left on each type of device."""

    def set_(**amounts):
        monkeypatch.setattr(needs, "available", lambda device: amounts.get(device.type))

    return set_


KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
         torch.float8_e4m3fn]  # fmt: skip


def test_headers_say_what_files_hold(tmp_path):
    tensors = {str(kind): torch.zeros(3, 5).to(kind) for kind in KINDS}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = stored_weights("m", tmp_path)
    floats = [tensor for tensor in tensors.values() if tensor.dtype in KINDS[:4]]
    assert found.floats == sum(tensor.numel() for tensor in floats)
    assert found.stored == sum(tensor.nbytes for tensor in floats)
    assert found.others == sum(tensor.nbytes for tensor in tensors.values()) - found.stored
    assert found.needed("auto") == sum(tensor.nbytes for tensor in tensors.values())
    assert found.needed(torch.float16) == found.others + 2 * found.floats


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "gemma3", "internvl"])
def test_the_config_says_what_a_model_holds(name):
    from families.specimens import all_specimens

    specimen = next(one for one in all_specimens() if one.model_type == name)
    model = specimen.build("sdpa")
    found = configured_weights(name, model.config)
    assert found.floats == sum(weight.numel() for weight in model.parameters())


def test_one_file_then_the_index_then_all(tmp_path):
    for name, size in (("a", 1), ("b", 2), ("model", 4)):
        save_file({name: torch.zeros(size)}, tmp_path / f"{name}.safetensors")
    assert stored_weights("m", tmp_path).floats == 4
    (tmp_path / "model.safetensors").unlink()
    assert stored_weights("m", tmp_path).floats == 3
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"b": "b.safetensors"}}))
    assert stored_weights("m", tmp_path).floats == 2


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": 3}', "[" * 100_000])
def test_a_damaged_index(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    refuse(lambda: stored_weights("org/m", tmp_path), "org/m", "index", "complete copy")


def test_an_index_that_names_a_file_that_is_not_there(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"b": "b-2.safetensors"}}))
    refuse(lambda: stored_weights("org/m", tmp_path), "lack b-2.safetensors")


def _file(header, body=b""):
    return len(header).to_bytes(8, "little") + header + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        b"\xff" * 8,
        _file(b"{"),
        _file(b"[]"),
        _file(b'{"a": 3}'),
        _file(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}'),
        _file(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": ["0", 8]}}'),
        _file(b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', b"1234"),
        _file(b"[" * 100_000),
    ],
    ids=range(10),
)
def test_damaged_headers(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    refuse(lambda: stored_weights("org/m", tmp_path), "The weights of org/m", "model.safetensors", "complete copy")


@pytest.mark.parametrize("key", ["num_hidden_layers", "depth", "depths", "n_layers", "encoder_layers", "num_experts"])
@pytest.mark.parametrize("value", [10**7, 10**40, -(10**7), float("nan"), float("inf")])
def test_layers_beyond_any_model(key, value):
    value = [2, value] if key == "depths" else value
    refuse(lambda: check_counts("org/m", {"text_config": {"vision": {key: value}}}), "org/m", key)


def test_a_list_with_an_entry_for_each_of_too_many_layers():
    refuse(lambda: check_counts("org/m", {"mlp_layers": ["a"] * (MAX_PARTS + 1)}), "mlp_layers")


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "depth", "num_experts"])
def test_fewer_than_none(key):
    refuse(lambda: check_counts("org/m", {key: -1}), f"{key} = -1")


def test_configs_of_published_models_are_let_pass():
    from transformers import CONFIG_MAPPING

    from todre.hf.families import FAMILIES

    configs = [preset.make_config() for preset in PRESETS.values()]
    for config in (*configs, *(CONFIG_MAPPING[model_type]() for model_type in FAMILIES)):
        check_counts(config.model_type, json.loads(config.to_json_string(use_diff=False)))


def test_too_little_memory_names_both_amounts_and_what_to_do(has):
    has(cpu=20 * 10**9)
    weights = Weights(7 * 10**9, 14 * 10**9)
    words = ("org/m needs 28.0 GB", "in float32", "this machine has 20.0 GB", "bfloat16 (14.0 GB)", "device_map")
    refuse(lambda: check_fits("org/m", weights, torch.float32, CPU), *words)
    check_fits("org/m", weights, torch.bfloat16, CPU)
    check_fits("org/m", weights, "auto", CPU)


def test_what_would_not_help_is_not_advised(has):
    has(cpu=10**9)
    with pytest.raises(LoadError) as caught:
        check_fits("org/m", Weights(7 * 10**9, 14 * 10**9), torch.float32, CPU)
    assert "bfloat16" not in str(caught.value)


def test_a_gpu_and_the_host_on_the_way_to_it(has):
    weights = Weights(10**9, 2 * 10**9)
    has(cpu=10**10, cuda=10**9)
    refuse(lambda: check_fits("org/m", weights, "auto", GPU), "cuda:0 has 1.0 GB")
    has(cpu=10**9, cuda=10**10)
    refuse(lambda: check_fits("org/m", weights, "auto", GPU), "this machine has 1.0 GB")
    check_fits("org/m", weights, "auto", GPU, staged=False)


def test_where_nothing_is_known_nothing_is_refused(has):
    has()
    check_fits("org/m", Weights(10**15, 4 * 10**15), torch.float32, CPU)


def test_a_config_that_asks_for_far_more_than_there_is():
    refuse(lambda: check_complete("org/m", Weights(10, 40), Weights(21, 84)), "hold 10 numbers", "asks for 21")
    check_complete("org/m", Weights(10, 40), Weights(20, 80))


def test_a_config_that_makes_no_model():
    config = tm.build("llava", layers=1).config
    config.text_config.intermediate_size = -1
    refuse(lambda: configured_weights("org/m", config), "org/m makes no model", "config.json")


def test_a_preset_that_does_not_fit_is_refused_before_it_is_built(has, monkeypatch):
    has(cpu=20 * 10**9)
    made, draw = [], torch.Tensor.normal_
    monkeypatch.setattr(torch.Tensor, "normal_", lambda self, *a, **k: made.append(self.device) or draw(self, *a, **k))
    words = ("llava-next-7b needs 28.3 GB", "has 20.0 GB left", "bfloat16 (14.1 GB)")
    refuse(lambda: build(PRESETS["llava-next-7b"], CPU, torch.float32), *words)
    assert {device.type for device in made} <= {"meta"}


def test_counting_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    configured_weights("m", PRESETS["tiny"].make_config())
    assert torch.equal(torch.get_rng_state(), before)
