"""The shipped model, a model whose answers never end by themselves, and two pictures in files."""

import pytest
import torch

from todre.bench.presets import PRESETS
from todre.bench.random_checkpoint import save_random_checkpoint
from todre.chat.answering import Length
from todre.chat.session import Session
from todre.cli.method_names import make_method
from todre.loading.model import load
from todre.scenes import make_scene


@pytest.fixture(scope="session")
def toy():
    return load(device="cpu")


@pytest.fixture(scope="session")
def endless_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endless")
    save_random_checkpoint(PRESETS["tiny"], folder, torch.float32)
    return folder


@pytest.fixture(scope="session")
def endless(endless_folder):
    return load(str(endless_folder), device="cpu")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Paths of two pictures, one with a blank in its name."""
    folder = tmp_path_factory.mktemp("scenes")
    paths = [folder / "one.png", folder / "the other.png"]
    for number, path in enumerate(paths, 3):
        make_scene(number, "val", size=(120, 100)).image.save(path)
    return [str(path) for path in paths]


@pytest.fixture
def session(toy):
    """session(model, retain=…, tokens=…) → a new session."""

    def make(loaded=toy, method="todre", retain=None, tokens=8, guard="off"):
        made = (lambda name, budget: make_method(name, budget, 0)), method, retain, Length(tokens)
        return Session(loaded, *made, guard=guard)

    return make
