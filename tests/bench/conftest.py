"""One tiny model, one prompt of two rows, and third-party scripts for all tests."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

from todre.bench.presets import PRESETS
from todre.bench.prompts import random_prompt
from todre.bench.random_models import build

THIRD_PARTY = Path(__file__).parents[2] / "benchmarks" / "third_party"


@pytest.fixture(scope="session")
def tiny():
    return build(PRESETS["tiny"], torch.device("cpu"), torch.float32, "sdpa")


@pytest.fixture(scope="session")
def prompt(tiny):
    return random_prompt(tiny, PRESETS["tiny"], 2, 20)


@pytest.fixture
def part(monkeypatch):
    """Loads a script of the folder by its name; its neighbours are forgotten again."""
    monkeypatch.syspath_prepend(str(THIRD_PARTY))
    names = [path.stem for path in THIRD_PARTY.glob("*.py")]
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(before)
