"""Memory that a model's weights need, known before anything is built.

The need follows from the config and from the headers of the weight files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from todre.errors import LoadError
from todre.files import Kind, opened, read_json
from todre.files.shapes import ANY, TEXT, Each
from todre.hub import decimal_bytes, first_line
from todre.loading.device_memory import available

MAX_PARTS = 1024
"""Most layers, blocks or stages that a config may have.

Even counting the weights builds a module for each layer, block or stage.
"""

MAX_EXPERTS = 16384
"""Most experts per layer that a config may have."""

_PARTS = re.compile(r"(^|_)(layers?|depths?|blocks|stages)$")
_EXPERTS = re.compile(r"(^|_)experts$")
_NUMBERED = re.compile(r"^(num|n)_\w*(layers|heads|blocks|stages|experts)$|^depths?$")
INDEX = Kind("get a complete copy", {"weight_map": Each(TEXT)}, LoadError, lenient=True)
"""The index of weights that are split over several files."""
WEIGHTS = Kind("get a complete copy", ANY, LoadError, most=2**50)
"""A weight file; only its header is read here."""

_MAX_HEADER = 100_000_000
"""Longest header that safetensors itself reads, in bytes."""

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Stored type → its bytes, for types that are converted to the model's dtype.

Other types stay as they are.
"""


@dataclass(frozen=True)
class Weights:
    """The size of a model's weights.

    Attributes:
        floats: how many stored numbers are converted to the model's dtype.
        stored: bytes of these numbers in the dtypes that they are stored in.
        others: bytes of tensors that keep their own type in any case (quantised weights, counts).
    """

    floats: int
    stored: int
    others: int = 0

    def needed(self, dtype: torch.dtype | str) -> int:
        """Bytes in memory once loaded.

        Args:
            dtype: dtype of the loaded weights; "auto" keeps the stored dtypes.
        """
        return self.others + (self.floats * dtype.itemsize if isinstance(dtype, torch.dtype) else self.stored)

    def with_at_least(self, floats: int) -> Weights:
        """These weights with at least `floats` numbers, each as large as the stored ones.

        A checkpoint may hold fewer numbers than its model has.
        """
        each = self.stored / self.floats if self.floats else 4
        return self if floats <= self.floats else replace(self, floats=floats, stored=int(floats * each))


def check_counts(name: str, config: Any) -> None:
    """Raise if a config has more layers or experts than a model can have.

    Args:
        name: what messages call the checkpoint.
        config: as read from JSON; dictionaries inside it are checked as well.

    Raises:
        LoadError: it has more than `MAX_PARTS` layers, more than `MAX_EXPERTS` experts, or a negative number of them.
    """
    for key, value in config.items() if isinstance(config, Mapping) else ():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, Mapping):
            check_counts(name, value)
        most = MAX_PARTS if _PARTS.search(key) else MAX_EXPERTS if _EXPERTS.search(key) else None
        counts = [count for count in values if isinstance(count, int | float) and not isinstance(count, bool)]
        wrong = [count for count in counts if most is not None and not abs(count) <= most]
        below = [count for count in counts if count < 0 and _NUMBERED.search(key)]
        if below:
            raise LoadError(f"The config.json of {name} says {key} = {below[0]}; get the model's own config.json.")
        if wrong or (most is not None and len(values) > most):
            raise LoadError(
                f"The config.json of {name} says {key} = {str(wrong[0] if wrong else len(values))[:20]}, and at most "
                f"{most:,} are built; get the model's own config.json."
            )


def stored_weights(name: str, folder: Path) -> Weights:
    """The size of a checkpoint's weights, from the headers of its safetensors files.

    Raises:
        LoadError: a file is missing, cut off, or has a header that cannot be read.
    """
    floats = stored = others = 0
    for file in weight_files(name, folder):
        for kind, size in _header(name, file):
            if kind in _FLOATS:
                floats, stored = floats + size // _FLOATS[kind], stored + size
            else:
                others += size
    return Weights(floats, stored, others)


def weight_files(name: str, folder: Path) -> list[Path]:
    """The files of weights that transformers reads from a folder.

    They are one file, or the files that the index names, or all weight files.

    Raises:
        LoadError: the index cannot be read, or names a file that is not there.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        parts = sorted(set(read_json(index, INDEX)["weight_map"].values()))
    except LoadError as error:
        raise LoadError(f"The weights of {name} have an index that cannot be read: {error}") from error
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing:
        raise LoadError(f"The weights of {name} lack {missing[0]}, which their index names; get a complete copy.")
    return [folder / part for part in parts]


def _header(name: str, file: Path) -> list[tuple[str, int]]:
    """Type and bytes of each tensor in a safetensors file.

    The file must be as long as its header says.
    """
    try:
        with opened(file, WEIGHTS) as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > _MAX_HEADER:
                raise ValueError(f"its header would be {length:,} bytes")
            header = json.loads(stream.read(length))
        tensors = [(key["dtype"], *key["data_offsets"]) for name, key in header.items() if name != "__metadata__"]
        end = 8 + length + max((end for _, _, end in tensors), default=0)
        found = [(str(kind), int(end - begin)) for kind, begin, end in tensors]
        size = file.stat().st_size
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(
            f"The weights of {name} cannot be loaded ({file.name}: {first_line(error)}); get a complete copy."
        ) from error
    if end > size:
        raise LoadError(
            f"The weights of {name} are cut off ({file.name} has {size:,} of {end:,} bytes); get a complete copy."
        )
    return found


def configured_weights(name: str, config: Any) -> Weights:
    """The size, in float32, of the model that a config describes.

    The weights are counted on the meta device, where nothing is allocated.

    Raises:
        LoadError: transformers makes no model of the config.
    """
    from transformers import AutoModelForImageTextToText

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    except Exception as error:
        raise LoadError(
            f"The config of {name} makes no model ({first_line(error)}); get the model's own config.json."
        ) from error
    numbers = sum(weight.numel() for weight in model.parameters())
    return Weights(numbers, 4 * numbers, sum(buffer.nbytes for buffer in model.buffers()))


def check_complete(name: str, stored: Weights, built: Weights) -> None:
    """Raise if a checkpoint holds far fewer weights than its model needs.

    Initialising the missing ones would take time and memory.

    Raises:
        LoadError: fewer than half of the weights are there.
    """
    if built.floats > 2 * stored.floats:
        raise LoadError(
            f"The weights of {name} hold {stored.floats:,} numbers and its config asks for {built.floats:,}; "
            "get the config.json that belongs to them, or a complete copy."
        )


def check_fits(
    name: str, weights: Weights, dtype: torch.dtype | str, device: torch.device, *, staged: bool = True
) -> None:
    """Raise unless there is memory for the weights.

    Args:
        name: what the message calls the model.
        weights: the size of the weights.
        dtype: the dtype that the weights are loaded as; "auto" keeps the stored dtypes.
        device: the device that the weights go to.
        staged: whether the weights pass through the host's memory on the way.

    Raises:
        LoadError: the device, or the host on the way there, has less memory left.
    """
    needed = weights.needed(dtype)
    for place in dict.fromkeys((device, torch.device("cpu")) if staged else (device,)):
        has = available(place)
        if has is None or needed <= has:
            continue
        half = weights.needed(torch.bfloat16)
        smaller = f"load it in bfloat16 ({decimal_bytes(half)}), " if half < needed and half <= has else ""
        where = "this machine" if place.type == "cpu" else str(place)
        written = f" in {str(dtype).removeprefix('torch.')}" if isinstance(dtype, torch.dtype) else ""
        raise LoadError(
            f"{name} needs {decimal_bytes(needed)} for its weights{written}, and {where} has {decimal_bytes(has)} "
            f"left; {smaller}take a smaller model or a device with more memory, or load it with transformers and a "
            "device_map."
        )
