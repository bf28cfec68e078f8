"""`todre.loading` offers what users load models with, and imports it when it is first used."""

import subprocess
import sys

import pytest

from todre import loading
from todre.loading import model


def test_load_is_where_users_look_for_it():
    assert (loading.load, loading.Loaded) == (model.load, model.Loaded)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        loading.lode  # noqa: B018


def test_the_room_alone_imports_nothing_large():
    code = "import sys, todre.loading; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
