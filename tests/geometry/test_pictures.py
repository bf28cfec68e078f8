"""Pictures in families with one grid, with tiles, with crops and newlines, and with rows."""

import pytest
from geometry.cases import PICTURES, PROMPTS
from geometry.oracle import check
from geometry.probes import pictured


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("sizes", PROMPTS, ids=str)
def test_tokens_are_where_the_pixels_come_from(name, sizes):
    assert check(pictured(PICTURES[name]), sizes) >= 2
