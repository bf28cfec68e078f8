"""Few queries get the attention that fused attention gives them, and only those that may."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from todre.hf.short_queries import BACKEND, FEW, attend, plain_short_queries
from todre.hf.versions import ALL_ATTENTION_FUNCTIONS, attention_function


def inputs(queries, keys, heads=6, groups=2, dtype=torch.float64):
    def made(*shape, seed):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)

    query = made(3, heads, queries, 8, seed=0)
    return query, made(3, groups, keys, 8, seed=1), made(3, groups, keys, 8, seed=2)


def mask_of(queries, keys, kind):
    """A causal mask that hides a padded slot of one row, as bool or as numbers to add."""
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries).expand(3, 1, -1, -1).clone()
    seen[1, ..., 0] = False
    return seen if kind == "bool" else torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, float("-inf"))


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("kind", ["bool", "numbers"])
@pytest.mark.parametrize(("queries", "heads", "groups"), [(1, 6, 2), (5, 4, 4), (FEW, 6, 1)])
def test_masked_queries_are_mixed_as_fused_attention_mixes_them(queries, heads, groups, kind, scaling):
    query, key, value = inputs(queries, 40, heads, groups)
    mask = mask_of(queries, 40, kind)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True)
    torch.testing.assert_close(attend(query, key, value, mask, scaling), expected.transpose(1, 2), atol=1e-6, rtol=0)


def test_a_mask_with_room_for_later_keys_is_cut():
    query, key, value = inputs(1, 7)
    found = attend(query, key, value, mask_of(1, 12, "bool"), None)
    assert torch.equal(found, attend(query, key, value, mask_of(1, 12, "bool")[..., :7], None))


def called(queries, mask=None, query=None, **more):
    """Whether plain products answered a call of the registered function."""
    query, key, value = inputs(queries, 9, 2, 2, torch.float32) if query is None else query
    seen = []
    before = ALL_ATTENTION_FUNCTIONS[BACKEND]
    ALL_ATTENTION_FUNCTIONS[BACKEND] = lambda *args, **kwargs: (seen.append(1), None)
    try:
        with plain_short_queries(), torch.inference_mode():
            attention_function(BACKEND)(None, query, key, value, mask, **more)
    finally:
        ALL_ATTENTION_FUNCTIONS[BACKEND] = before
    return not seen


def test_only_a_plain_softmax_of_few_queries_is_taken():
    mask = torch.ones(3, 1, 4, 9, dtype=torch.bool)
    assert called(1)
    assert called(4, mask)
    assert not called(4), "several queries without a mask are causal"
    assert not called(FEW + 1, torch.ones(3, 1, FEW + 1, 9, dtype=torch.bool))
    for special in ({"softcap": 30.0}, {"s_aux": torch.zeros(2)}, {"dropout": 0.1}):
        assert not called(1, **special)


def test_gradients_are_left_to_fused_attention():
    query, key, value = (each.float().requires_grad_() for each in inputs(1, 5, 2, 2))
    before = attention_function(BACKEND)
    with plain_short_queries():
        module = torch.nn.Module()
        expected = before(module, query, key, value, None)[0]
        assert torch.equal(attention_function(BACKEND)(module, query, key, value, None)[0], expected)


def test_the_mapping_is_as_before_after_an_error_too():
    before = attention_function(BACKEND)

    def failing():
        with plain_short_queries():
            assert attention_function(BACKEND) is not before
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert attention_function(BACKEND) is before


def test_a_block_inside_another_changes_nothing():
    with plain_short_queries():
        outer = attention_function(BACKEND)
        with plain_short_queries():
            assert attention_function(BACKEND) is outer
        assert attention_function(BACKEND) is outer
