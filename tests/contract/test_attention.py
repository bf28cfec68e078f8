"""What `src/todre/tensors/attention.py` takes for granted of the way in which modules find their attention function."""

from __future__ import annotations

import inspect

import pytest
import torch
from families.specimens import all_specimens
from transformers import Gemma2Config, GptOssConfig, LlamaConfig
from transformers.modeling_flash_attention_utils import FlashAttentionKwargs
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface
from transformers.models.gemma2.modeling_gemma2 import Gemma2Model
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssModel
from transformers.models.llama.modeling_llama import LlamaModel

from todre.hf.attention_tap import attention_modules
from todre.hf.versions import attention_function, eager_function

TINY = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
}


@pytest.fixture
def local():
    """Names that a test may put into the mapping; taken out afterwards."""
    yield
    for name in list(ALL_ATTENTION_FUNCTIONS._local_mapping):
        del ALL_ATTENTION_FUNCTIONS[name]


def noting(calls, function):
    def passed(*args, **kwargs):
        calls.append((args, kwargs))
        return function(*args, **kwargs)

    return passed


def called(model, backend, ids=None):
    """How the model's only attention module calls what stands under the backend's name."""
    calls = []
    function = attention_function(backend) or eager_function(model.layers[0].self_attn)
    ALL_ATTENTION_FUNCTIONS[backend] = noting(calls, function)
    model(input_ids=torch.arange(5)[None] if ids is None else ids)
    return calls


class TestMapping:
    """ALL_ATTENTION_FUNCTIONS, in which a dispatcher stands for a moment."""

    @pytest.mark.usefixtures("local")
    def test_an_entry_hides_the_global_one_and_gives_way_to_it_again(self):
        original = ALL_ATTENTION_FUNCTIONS["sdpa"]
        other = lambda *args: None  # noqa: E731
        ALL_ATTENTION_FUNCTIONS["sdpa"] = other
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is ALL_ATTENTION_FUNCTIONS.get("sdpa") is other
        assert AttentionInterface()["sdpa"] is original
        del ALL_ATTENTION_FUNCTIONS["sdpa"]
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is original

    def test_eager_attention_is_not_in_it(self):
        assert "eager" not in ALL_ATTENTION_FUNCTIONS
        assert attention_function("eager") is None

    @pytest.mark.usefixtures("local")
    def test_a_new_name_goes_as_it_came(self):
        ALL_ATTENTION_FUNCTIONS["eager"] = print
        del ALL_ATTENTION_FUNCTIONS["eager"]
        assert "eager" not in ALL_ATTENTION_FUNCTIONS

    def test_modelling_files_share_it(self):
        for name in ("llama", "gemma2", "gpt_oss", "clip", "siglip", "pixtral", "qwen2_5_vl", "mistral", "qwen3_vl"):
            module = __import__(f"transformers.models.{name}.modeling_{name}", fromlist=["x"])
            assert module.ALL_ATTENTION_FUNCTIONS is ALL_ATTENTION_FUNCTIONS, name


@pytest.mark.usefixtures("local")
class TestCalls:
    """The call itself, at each forward."""

    @pytest.mark.parametrize("backend", ["sdpa", "eager"])
    def test_the_name_is_looked_up_at_each_call_and_the_module_comes_first(self, backend):
        model = LlamaModel(LlamaConfig(**TINY, attn_implementation=backend)).eval()
        ((args, kwargs),) = called(model, backend)
        module, query, key, value, *_ = args
        assert module is model.layers[0].self_attn
        assert module.config._attn_implementation == backend
        assert query.shape == (1, 4, 5, 4)
        assert key.shape == value.shape == (1, 2, 5, 4)
        assert kwargs["scaling"] == 4**-0.5

    def test_positions_are_applied_and_the_mask_comes_fifth_or_by_name(self):
        model = LlamaModel(LlamaConfig(**TINY, attn_implementation="eager")).eval()
        ((args, kwargs),) = called(model, "eager", torch.full((1, 5), 3))
        query = args[1]
        assert not torch.allclose(query[:, :, 0], query[:, :, 1])  # the same token at another place
        mask = kwargs.get("attention_mask", args[4] if len(args) > 4 else None)
        assert mask.shape == (1, 1, 5, 5)

    def test_a_bound_on_logits_is_called_softcap(self):
        model = Gemma2Model(Gemma2Config(**TINY, attn_logit_softcapping=7.0, attn_implementation="eager")).eval()
        ((_, kwargs),) = called(model, "eager")
        assert kwargs["softcap"] == 7.0

    def test_attention_sinks_are_called_s_aux(self):
        settings = {"num_local_experts": 2, "num_experts_per_tok": 1, "attn_implementation": "eager"}
        model = GptOssModel(GptOssConfig(**TINY, **settings, layer_types=["full_attention"])).eval()
        ((_, kwargs),) = called(model, "eager")
        assert kwargs["s_aux"] is not None

    def test_the_answer_has_heads_third(self):
        model = LlamaModel(LlamaConfig(**TINY, attn_implementation="eager")).eval()
        module, calls = model.layers[0].self_attn, called(model, "eager")
        args, kwargs = calls[0]
        output, weights = eager_function(module)(*args, **kwargs)
        assert output.shape == (1, 5, 4, 4)
        assert weights.shape == (1, 4, 5, 5)


def test_bounds_of_packed_sequences_are_called_cu_seq_lens_q():
    """Towers that pack pictures into one sequence say so under this name where the backend takes it."""
    assert "cu_seq_lens_q" in FlashAttentionKwargs.__annotations__


@pytest.mark.parametrize("name", ["llava", "llava-siglip", "internvl-qwen2", "gemma3", "qwen3_vl"])
def test_every_attention_module_has_an_eager_function_in_its_file(name):
    """Or in the file of a class that it is made from; towers and decoders come from different files."""
    model = next(one for one in all_specimens() if one.name == name).build("eager")
    modules = [*attention_modules(model.base_model)]
    assert modules
    for module in modules:
        names = list(inspect.signature(eager_function(module)).parameters)
        assert names[:5] == ["module", "query", "key", "value", "attention_mask"]
