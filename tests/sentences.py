"""What refusals have in common: one sentence, with the words that help."""

from __future__ import annotations

import warnings

import pytest


def quietly(work):
    """What `work` returns; any warning fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return work()


def refused(work, *words, error):
    """Check that `work` raises `error` with one sentence that holds the words."""
    with pytest.raises(error) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message
