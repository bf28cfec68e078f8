"""10,000 constructions of methods and settings: equal after JSON, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from methods.fuzzed import ALL, EXAMPLES, arguments_for, is_plain, through_json

import todre
from todre.errors import InvalidValueError
from todre.fields.base import annotations_of
from todre.methods.base import Method


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: f"{cls.__module__.removeprefix('todre.')}.{cls.__name__}")
def test_fuzzed_fields_are_made_plain_or_refused(cls):
    tried = {"accepted": 0, "refused": 0}

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(arguments_for(cls))
    def fuzz(arguments):
        args, kwargs = arguments
        reply = ""
        try:
            made = cls(*args, **kwargs)
        except InvalidValueError as error:
            reply = str(error)
        tried["refused" if reply else "accepted"] += 1
        if reply:
            assert "\n" not in reply
            assert reply.endswith(".")
            assert len(reply) < 500
            return
        for name in annotations_of(cls):
            value = getattr(made, name)
            assert is_plain(value) or isinstance(value, Path | Method | dict) or cls is todre.Compose, (name, value)
        assert through_json(made) == made

    fuzz()
    assert min(tried.values()) >= EXAMPLES / 20, tried
    assert sum(tried.values()) >= EXAMPLES * 0.9, tried
