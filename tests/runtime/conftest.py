"""Models that a file of tests builds once and shares."""

from __future__ import annotations

import pytest
import tinymodels as tm


@pytest.fixture(scope="module")
def models():
    """`models(kind, backend)`: the random model of that kind, built once per file."""
    built = {}

    def get(kind="next-llama", backend="sdpa"):
        if (kind, backend) not in built:
            built[kind, backend] = tm.build(kind, backend)
        return built[kind, backend]

    return get
