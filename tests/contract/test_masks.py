"""What `runtime/incoming_masks.py`, `positions.py` and `hf/versions.py` take for granted of transformers' masks."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.masking_utils import create_causal_mask, find_packed_sequence_indices
from upstream import CACHE

from todre.hf.versions import PhysicalLengths, causal_mask

ROWS, QUERIES, WIDTH = 2, 3, 8
LOWEST = torch.finfo(torch.float32).min


def config(backend):
    return LlamaConfig(hidden_size=WIDTH, num_attention_heads=2, num_hidden_layers=1, attn_implementation=backend)


def embeds(queries=QUERIES):
    return torch.zeros(ROWS, queries, WIDTH)


def expected(valid, slots, queries=QUERIES):
    """(b, 1, q, s) bool: a query sees the slots up to its own, padding left aside."""
    key, query = torch.arange(valid.shape[1]), torch.arange(slots, slots + queries)
    return ((key[None] <= query[:, None])[None] & valid[:, None])[:, None]


VALID = torch.tensor([[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]]).bool()
"""Four cached slots and three queries; the first row starts with padding."""


class TestPhysicalLengths:
    """create_causal_mask sizes a mask by whatever answers like a cache."""

    def test_padding_and_past_give_what_each_query_sees(self):
        mask = causal_mask(config("sdpa"), embeds(), VALID, slots=4)
        assert mask.dtype == torch.bool
        assert torch.equal(mask, expected(VALID, 4))

    def test_eager_attention_gets_numbers_to_add(self):
        mask = causal_mask(config("eager"), embeds(), VALID, slots=4)
        assert torch.equal(mask, torch.zeros(()).masked_fill(~expected(VALID, 4), LOWEST))

    def test_sdpa_gets_none_where_causal_attention_says_it_all(self):
        assert causal_mask(config("sdpa"), embeds(), None, slots=0) is None
        assert causal_mask(config("sdpa"), embeds(1), None, slots=6) is None

    def test_sdpa_gets_a_mask_where_queries_follow_a_past(self):
        mask = causal_mask(config("sdpa"), embeds(), None, slots=4)
        assert torch.equal(mask.expand(ROWS, -1, -1, -1), expected(torch.ones(ROWS, 7).bool(), 4))

    def test_flash_attention_gets_the_padding_alone_or_nothing(self):
        assert torch.equal(causal_mask(config("flash_attention_2"), embeds(), VALID, slots=4), VALID)
        assert causal_mask(config("flash_attention_2"), embeds(), None, slots=4) is None

    def test_a_static_cache_always_gets_a_mask_over_its_capacity(self):
        mask = causal_mask(config("sdpa"), embeds(1), None, slots=torch.tensor(4), capacity=9)
        assert mask.shape[-2:] == (1, 9)
        assert mask.expand(ROWS, 1, 1, 9).flatten(1).sum(dim=1).tolist() == [5, 5]

    def test_no_more_of_a_cache_is_asked_than_the_stand_in_has(self):
        asked = set()

        class Noting(PhysicalLengths):
            def __getattribute__(self, name):
                asked.add(name)
                return super().__getattribute__(name)

        options = {"position_ids": None, "layer_idx": 0, "allow_is_causal_skip": True}
        create_causal_mask(config("sdpa"), embeds(), VALID, **{CACHE: Noting(4, None)}, **options)
        known = {"get_query_offset", "get_seq_length", "get_mask_sizes", "is_compileable"}
        assert {name for name in asked if not name.startswith("__")} <= known | {"slots", "capacity"}


def test_a_mask_of_four_dimensions_is_taken_as_it_is():
    """So the decoder may be given one that is made already."""
    mask = expected(VALID, 4)
    assert create_causal_mask(config("sdpa"), embeds(), mask, **{CACHE: None}) is mask


def test_gaps_in_positions_are_read_as_packed_sequences():
    """The reason why the decoder is shown contiguous positions."""
    assert find_packed_sequence_indices(torch.tensor([[4, 5, 6, 7]])) is None
    assert find_packed_sequence_indices(torch.tensor([[4, 5, 8, 9]])).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_contiguous_positions_change_no_mask(backend):
    """A decoder without a cache looks at positions too."""
    options = {"attention_mask": None, CACHE: None}
    without = create_causal_mask(config(backend), embeds(), **options)
    given = create_causal_mask(config(backend), embeds(), **options, position_ids=torch.arange(5, 5 + QUERIES)[None])
    assert (given is None and without is None) or torch.equal(given, without)
