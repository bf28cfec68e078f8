"""The decoder's weights: from a quantised GGUF file to a folder in float32.

A GGUF file of a Llama holds its rows of queries and keys in another order than transformers, and its numbers quantised.
Here the order is undone and the numbers are computed in float32, exactly as the file says them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from todre.errors import LoadError, MissingDependencyError
from todre.hub import first_line

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM

_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_PER_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of a layer's tensors in GGUF files, and in transformers."""
_FIELDS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_parameters"),
    *("attention_bias", "mlp_bias", "tie_word_embeddings", "bos_token_id", "eos_token_id"),
)
PAD_ID = 0
"""Id of `<|endoftext|>`."""


def check_gguf() -> None:
    """Raise unless the package that reads GGUF files is installed.

    Raises:
        MissingDependencyError: it is not.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MissingDependencyError(
            'Reading GGUF weights needs the package gguf; run pip install "todre[smol]", or use --from-hub.'
        )


def open_gguf(file: Path) -> Any:
    """A reader of a GGUF file.

    Raises:
        MissingDependencyError: the package `gguf` is not installed.
        LoadError: the file is none.
    """
    check_gguf()
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise LoadError(f"{file.name} is no GGUF file that can be read ({error}); fetch it again.") from error


def metadata_of(reader: Any) -> dict[str, Any]:
    """The metadata of a GGUF file as plain values."""
    return {name: field.contents() for name, field in reader.fields.items()}


def config_of(metadata: Mapping[str, Any]) -> LlamaConfig:
    """The config of the Llama that a GGUF file's metadata describes.

    Raises:
        LoadError: it describes another architecture, or lacks something.
    """
    from transformers import LlamaConfig

    if metadata.get("general.architecture") != "llama":
        raise LoadError(f"The GGUF file holds a {metadata.get('general.architecture')!r}, not a llama; fetch it again.")
    try:
        return LlamaConfig(
            vocab_size=len(metadata["tokenizer.ggml.tokens"]),
            hidden_size=int(metadata["llama.embedding_length"]),
            intermediate_size=int(metadata["llama.feed_forward_length"]),
            num_hidden_layers=int(metadata["llama.block_count"]),
            num_attention_heads=int(metadata["llama.attention.head_count"]),
            num_key_value_heads=int(metadata["llama.attention.head_count_kv"]),
            max_position_embeddings=int(metadata["llama.context_length"]),
            rms_norm_eps=float(metadata["llama.attention.layer_norm_rms_epsilon"]),
            rope_parameters={"rope_type": "default", "rope_theta": float(metadata["llama.rope.freq_base"])},
            tie_word_embeddings=True,
            bos_token_id=int(metadata["tokenizer.ggml.bos_token_id"]),
            eos_token_id=int(metadata["tokenizer.ggml.eos_token_id"]),
        )
    except KeyError as error:
        raise LoadError(f"The GGUF file does not say {error.args[0]}; fetch it again.") from error


def plain_config(config: LlamaConfig) -> LlamaConfig:
    """A config of the same Llama, without what files say beside it.

    Paths and dtypes are left out. Padding is `PAD_ID`, a token that no prompt holds, so that it never looks like the
    end of an answer.
    """
    from transformers import LlamaConfig

    return LlamaConfig(**{name: getattr(config, name) for name in _FIELDS}, pad_token_id=PAD_ID)


def state_of(reader: Any, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """The weights of a GGUF file in float32, under transformers' names.

    Args:
        reader: as `open_gguf` gives it.
        config: of the same file.

    Raises:
        LoadError: the file holds a tensor that a Llama with tied embeddings has no place for.
    """
    from gguf.quants import dequantize

    state = {}
    for tensor in reader.tensors:
        name = _name_of(tensor.name)
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).to(torch.float32)
        if name.endswith("q_proj.weight"):
            values = unpermuted(values, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            values = unpermuted(values, config.num_key_value_heads)
        state[name] = values
    return state


def unpermuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys in the order of transformers.

    A GGUF file interleaves the two halves of each head, which rotary embeddings rotate as pairs: its row 2 i + s of a
    head is row s · half + i here.

    Args:
        weight: (heads · head size, inputs).
        heads: number of heads.
    """
    rows, inputs = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, inputs).transpose(1, 2).reshape(rows, inputs).contiguous()


def decoder_of(reader: Any) -> LlamaForCausalLM:
    """The model of a GGUF file in float32.

    Raises:
        LoadError: the file's tensors do not fit its own description.
    """
    from transformers import LlamaForCausalLM

    config = plain_config(config_of(metadata_of(reader)))
    state = state_of(reader, config)
    if "model.embed_tokens.weight" in state:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = LlamaForCausalLM(config).to(torch.float32)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise LoadError("The GGUF file's tensors do not fit its own description; fetch it again.") from error
    decoder: LlamaForCausalLM = model.eval()
    return decoder


def load_base(folder: Path) -> LlamaForCausalLM:
    """The decoder in a folder, in float32 evaluation mode.

    Raises:
        LoadError: the folder does not hold one.
    """
    from transformers import AutoConfig, LlamaForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)  # LlamaConfig's would be 7 billion numbers
        if config.model_type != "llama":
            raise ValueError(f"it is a {config.model_type}")
        model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # each library has types of its own for files that do not fit
        raise LoadError(
            f"{folder} holds no decoder that can be loaded ({first_line(error)}); fetch it again."
        ) from error
    return model.eval()


def _name_of(tensor: str) -> str:
    """The name in transformers of a GGUF file's tensor."""
    parts = tensor.split(".")
    if len(parts) == 2 and parts[1] == "weight" and parts[0] in _WHOLE:
        return f"{_WHOLE[parts[0]]}.weight"
    if len(parts) == 4 and parts[0] == "blk" and parts[3] == "weight" and parts[2] in _PER_LAYER:
        return f"model.layers.{parts[1]}.{_PER_LAYER[parts[2]]}.weight"
    raise LoadError(f"The GGUF file holds a tensor {tensor!r} that the decoder has no place for; fetch it again.")
