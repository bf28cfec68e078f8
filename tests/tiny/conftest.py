"""Fixtures: an untrained model with its processor, and the shipped one."""

import pytest

from todre import tiny


@pytest.fixture(scope="session")
def untrained():
    from todre.tiny.model import build_model, build_processor
    from todre.tiny.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    return build_model(tokenizer, seed=1).eval(), build_processor(tokenizer)


@pytest.fixture(scope="session")
def shipped():
    return tiny.load()
