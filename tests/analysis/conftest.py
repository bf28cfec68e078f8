"""A small random model whose attention and answers depend on every token, and questions about small scenes."""

import pytest
from lively import lively

from todre.analysis.questions import Source
from todre.loading.model import load
from todre.tiny.export import export

SMALL = {"limit": 4, "split": "val", "size": 96}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The model as a folder."""
    folder = tmp_path_factory.mktemp("lively")
    export(*lively(), folder)
    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint):
    return load(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def eager(checkpoint):
    """The same weights; its attention maps can be looked at."""
    return load(checkpoint, device="cpu", attn_implementation="eager")


@pytest.fixture
def source():
    return Source(**SMALL)
