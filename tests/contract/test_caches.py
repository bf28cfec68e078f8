"""What `src/todre/hf/cache_layers.py` and `tensors/slots.py` take for granted of transformers' caches."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, Qwen3_5TextConfig, StaticCache
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    StaticLayer,
)

HEADS, WIDTH, WINDOW = 2, 4, 5


def states(length, rows=1, seed=0):
    """Keys and values (rows, HEADS, length, WIDTH)."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(rows, HEADS, length, WIDTH, generator=generator) for _ in range(2))


def filled(layer, *lengths, rows=1):
    """The layer after updates of these lengths, and all keys it was given."""
    given = [states(length, rows, seed) for seed, length in enumerate(lengths)]
    for keys, values in given:
        layer.update(keys, values)
    return layer, torch.cat([keys for keys, _ in given], dim=2)


def config(**settings):
    return LlamaConfig(num_hidden_layers=3, hidden_size=8, num_attention_heads=2, intermediate_size=8, **settings)


class TestGrowing:
    """DynamicLayer, which PrunedLayer extends."""

    def test_update_appends_and_hands_out_everything(self):
        layer, keys = filled(DynamicLayer(), 4, 3)
        more = states(2, seed=9)
        got = layer.update(*more)
        assert torch.equal(got[0], torch.cat([keys, more[0]], dim=2))
        assert got[0] is layer.keys
        assert got[1] is layer.values

    def test_it_is_empty_and_not_initialised_at_first(self):
        layer = DynamicLayer()
        assert not layer.is_initialized
        assert layer.get_seq_length() == 0
        layer.lazy_initialization(*states(3))
        assert layer.is_initialized
        assert layer.keys.numel() == layer.values.numel() == 0

    def test_lengths_are_whole_numbers_and_masks_start_at_zero(self):
        layer, _ = filled(DynamicLayer(), 4, 3)
        assert layer.get_seq_length() == 7
        assert layer.get_mask_sizes(2) == (9, 0)

    def test_a_negative_crop_removes_that_many(self):
        layer, keys = filled(DynamicLayer(), 6)
        layer.crop(-2)
        assert torch.equal(layer.keys, keys[:, :, :4])

    def test_rows_are_picked_reordered_and_repeated(self):
        for act, rows in (
            (lambda layer: layer.reorder_cache(torch.tensor([1, 0])), [1, 0]),
            (lambda layer: layer.batch_select_indices(torch.tensor([1])), [1]),
            (lambda layer: layer.batch_repeat_interleave(2), [0, 0, 1, 1]),
        ):
            layer, keys = filled(DynamicLayer(), 3, rows=2)
            act(layer)
            assert torch.equal(layer.keys, keys[rows])

    def test_reset_forgets_and_update_starts_anew(self):
        layer, _ = filled(DynamicLayer(), 3)
        layer.reset()
        assert layer.get_seq_length() == 0
        filled(layer, 2)
        assert layer.get_seq_length() == 2

    def test_it_is_not_sliding(self):
        assert DynamicLayer().is_sliding is False


class TestSliding:
    """DynamicSlidingWindowLayer, which PrunedSlidingLayer stands in for."""

    def test_all_are_handed_out_once_and_the_last_ones_kept(self):
        layer, keys = filled(DynamicSlidingWindowLayer(sliding_window=WINDOW), 4)
        more = states(6, seed=7)
        got, _ = layer.update(*more)
        assert torch.equal(got, torch.cat([keys, more[0]], dim=2))
        assert torch.equal(layer.keys, got[:, :, -(WINDOW - 1) :])

    def test_it_answers_all_columns_that_ever_were(self):
        layer, _ = filled(DynamicSlidingWindowLayer(sliding_window=WINDOW), 4, 6)
        assert layer.get_seq_length() == layer.cumulative_length == 10

    def test_masks_are_as_long_as_what_is_held_and_offset_by_what_is_not(self):
        layer, _ = filled(DynamicSlidingWindowLayer(sliding_window=WINDOW), 4, 6)
        assert layer.get_mask_sizes(1) == (WINDOW, 10 - (WINDOW - 1))

    def test_it_says_what_it_is(self):
        layer = DynamicSlidingWindowLayer(sliding_window=WINDOW)
        assert layer.is_sliding is True
        assert layer.sliding_window == WINDOW
        assert isinstance(layer, DynamicLayer)

    def test_past_that_may_come_back_is_recorded_on_demand(self):
        cache = Cache(layers=[DynamicSlidingWindowLayer(sliding_window=WINDOW), DynamicLayer()])
        cache.activate_past_recording()
        layer, keys = filled(cache.layers[0], 6, 1)
        cache.layers[0].crop(-1)
        assert torch.equal(layer.keys, keys[:, :, 6 - (WINDOW - 1) : 6])


class TestStatic:
    """StaticLayer, whose buffers PrunedStaticLayer takes over."""

    def test_slots_are_written_one_after_the_other_into_one_buffer(self):
        layer, keys = filled(StaticLayer(max_cache_len=8), 3, 2)
        assert layer.keys.shape[2] == layer.max_cache_len == 8
        assert torch.equal(layer.keys[:, :, :5], keys)
        assert not layer.keys[:, :, 5:].any()

    def test_the_count_of_filled_slots_is_a_tensor_that_is_written_in_place(self):
        layer, _ = filled(StaticLayer(max_cache_len=8), 3)
        count = layer.cumulative_length
        assert isinstance(count, torch.Tensor)
        filled(layer, 2)
        assert layer.cumulative_length is count
        assert int(layer.get_seq_length()) == int(count) == 5

    def test_an_unused_one_has_length_zero(self):
        assert StaticLayer(max_cache_len=8).get_seq_length() == 0

    def test_masks_cover_the_whole_buffer(self):
        layer, _ = filled(StaticLayer(max_cache_len=8), 3)
        assert layer.get_mask_sizes(1) == (8, 0)

    def test_everything_it_holds_is_in_its_dictionary(self):
        layer, keys = filled(StaticLayer(max_cache_len=8), 3)
        other = StaticLayer.__new__(StaticLayer)
        other.__dict__.update(layer.__dict__)
        filled(other, 1)
        assert torch.equal(other.keys[:, :, :3], keys)
        assert int(other.get_seq_length()) == 4


class TestWhole:
    """Cache, DynamicCache and StaticCache."""

    @pytest.mark.parametrize(
        ("kind", "size"), [("sliding_attention", "sliding_window"), ("chunked_attention", "attention_chunk_size")]
    )
    def test_layer_types_decide_the_classes(self, kind, size):
        types = [kind, "full_attention", kind]
        cache = DynamicCache(config=config(layer_types=types, **{size: WINDOW}))
        assert [type(layer) for layer in cache.layers] == [
            DynamicSlidingWindowLayer,
            DynamicLayer,
            DynamicSlidingWindowLayer,
        ]
        assert [getattr(layer, "sliding_window", None) for layer in cache.layers] == [WINDOW, None, WINDOW]
        assert cache.layer_class_to_replicate is None

    def test_layers_with_a_state_are_no_slots(self):
        settings = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}
        cache = DynamicCache(config=Qwen3_5TextConfig(**settings))
        assert [type(layer) for layer in cache.layers] == [LinearAttentionLayer, DynamicLayer]
        assert not isinstance(cache.layers[0], CacheLayerMixin)

    def test_its_length_is_that_of_the_first_layer_with_slots(self):
        settings = {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}
        cache = DynamicCache(config=Qwen3_5TextConfig(**settings))
        cache.update(*states(4), layer_idx=1)
        assert cache.get_seq_length() == 4

    def test_without_a_config_layers_are_made_on_demand(self):
        cache = DynamicCache()
        assert cache.layers == []
        assert cache.layer_class_to_replicate is DynamicLayer
        cache.update(*states(4), layer_idx=1)
        assert [type(layer) for layer in cache.layers] == [DynamicLayer, DynamicLayer]

    def test_a_static_one_has_static_layers(self):
        cache = StaticCache(config=config(), max_cache_len=8)
        assert [type(layer) for layer in cache.layers] == [StaticLayer] * 3

    def test_a_layer_that_is_put_into_the_list_is_the_one_that_is_used(self):
        cache = DynamicCache(config=config())
        asked = []

        class Other(DynamicLayer):
            def update(self, *args, **kwargs):
                asked.append("update")
                return super().update(*args, **kwargs)

            def get_seq_length(self):
                return 70

            def get_mask_sizes(self, query_length):
                return 7 + query_length, 63

            def crop(self, tokens_to_remove):
                asked.append(("crop", tokens_to_remove))

            def reorder_cache(self, beam_idx):
                asked.append("reorder_cache")

            def activate_past_recording(self):
                asked.append("activate_past_recording")

        cache.layers[0] = Other()
        for index in range(3):
            cache.update(*states(2), index)
        cache.crop(-1)
        cache.reorder_cache(torch.tensor([0]))
        cache.activate_past_recording()
        assert asked == ["update", ("crop", -1), "reorder_cache", "activate_past_recording"]
        assert cache.get_seq_length() == 70
        assert cache.get_mask_sizes(1, 0) == (8, 63)

    @pytest.mark.parametrize("name", ["reset", "batch_repeat_interleave", "batch_select_indices"])
    def test_what_is_done_to_it_is_done_to_each_layer(self, name, monkeypatch):
        cache = DynamicCache(config=config())
        done = []
        for layer in cache.layers:
            monkeypatch.setattr(layer, name, lambda *args, layer=layer: done.append(layer))
        getattr(cache, name)(*([] if name == "reset" else [torch.tensor([0])]))
        assert done == cache.layers
