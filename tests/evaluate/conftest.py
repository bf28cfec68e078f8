"""Sessions on a small random model whose answers vary from row to row."""

import pytest
from lively import lively

from todre.evaluate import batch_answers as answering
from todre.evaluate.session import Session, Settings
from todre.loading.model import load
from todre.tiny.export import export


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The model as a folder."""
    folder = tmp_path_factory.mktemp("lively")
    export(*lively(), folder)
    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint):
    return load(checkpoint, device="cpu")


@pytest.fixture(autouse=True)
def short_captions(monkeypatch):
    """Long answers are still longer than others, but tests need no fifty tokens."""
    monkeypatch.setattr(answering, "_NEW_TOKENS", {"caption": 7})


@pytest.fixture
def session(loaded):
    return Session(Settings(split="val", size=96, group_size=2), loaded)
