"""One tiny model and one prompt of two rows for all tests here."""

import pytest
import torch

from todre.bench.presets import PRESETS
from todre.bench.prompts import random_prompt
from todre.bench.random_models import build


@pytest.fixture(scope="session")
def tiny():
    return build(PRESETS["tiny"], torch.device("cpu"), torch.float32, "sdpa")


@pytest.fixture(scope="session")
def prompt(tiny):
    return random_prompt(tiny, PRESETS["tiny"], 2, 20)
