"""The part of the model that was trained here, as one safetensors file.

It holds, in float16, the connector (`connector.linear_1.weight`, …), `image_newline`, and for each adapted projection
of the decoder the two factors of its LoRA: `lora.{layer}.{q,k,v,o}_proj.A` (rank, inputs) and `.B` (outputs, rank).
The projection's weight becomes W + scale · B A.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from todre.errors import InvalidValueError, LoadError
from todre.files import atomic_path

CONNECTOR = ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
NEWLINE = "image_newline"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
_FACTOR = re.compile(rf"lora\.(\d+)\.({'|'.join(PROJECTIONS)})\.([AB])")


@dataclass(frozen=True)
class Part:
    """What was trained for the model.

    Attributes:
        tensors: by the names of the file.
        rank: of the LoRA.
        scale: factor of its products.
        seed: of the training.
        base_sha256: SHA-256 of the file whose weights the LoRA was fitted to, as the decoder's `Origin` has it.
    """

    tensors: Mapping[str, torch.Tensor]
    rank: int
    scale: float
    seed: int
    base_sha256: str

    def __post_init__(self) -> None:
        """Raise unless connector, newline and LoRA are whole, and of this rank."""
        whole = {f"connector.{name}" for name in CONNECTOR} | {NEWLINE}
        missing = sorted(whole - self.tensors.keys())
        if missing:
            raise InvalidValueError(f"The trained part lacks {missing[0]}; write all of the connector.")
        for name in self.tensors.keys() - whole:
            factor = _FACTOR.fullmatch(name)
            if factor is None:
                raise InvalidValueError(f"The trained part holds {name!r}, which is no factor of a LoRA; leave it out.")
            other = name[:-1] + ("B" if factor[3] == "A" else "A")
            if other not in self.tensors:
                raise InvalidValueError(f"The trained part holds {name} without {other}; write both factors.")
            shape = tuple(self.tensors[name].shape)
            if len(shape) != 2 or shape[0 if factor[3] == "A" else 1] != self.rank:
                raise InvalidValueError(f"The trained part holds {name} of shape {shape}, not of rank {self.rank}.")

    def factors(self) -> dict[tuple[int, str], tuple[torch.Tensor, torch.Tensor]]:
        """The LoRA's factors (A, B), by layer from 0 and projection."""
        found = {}
        for name in self.tensors:
            factor = _FACTOR.fullmatch(name)
            if factor is not None and factor[3] == "A":
                found[int(factor[1]), factor[2]] = (self.tensors[name], self.tensors[name[:-1] + "B"])
        return dict(sorted(found.items()))


def write_part(part: Part, file: Path) -> None:
    """Write a part in float16; an earlier file is replaced, whole or not at all.

    Raises:
        InvalidValueError: a number of it is not finite, or too large for float16.
        OutputError: the file cannot be written.
    """
    tensors = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in part.tensors.items()}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InvalidValueError(f"The trained part's {name} has numbers that float16 cannot hold; train it again.")
    facts = {
        "format": "pt",
        "rank": str(part.rank),
        "scale": repr(part.scale),
        "seed": str(part.seed),
        "base_sha256": part.base_sha256,
    }
    with atomic_path(file) as temporary:
        save_file(dict(sorted(tensors.items())), temporary, facts)


def read_part(file: Path) -> Part:
    """Read a part.

    Raises:
        LoadError: the file is none.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            facts = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        return Part(tensors, int(facts["rank"]), float(facts["scale"]), int(facts["seed"]), facts["base_sha256"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise LoadError(f"{file.name} is no trained part of smol ({error}); get it again.") from error
