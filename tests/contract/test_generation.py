"""What `runtime/attachment.py`, `tower/capture.py` and `hf/cache.py` take for granted of `generate`."""

from __future__ import annotations

import functools
import inspect

import pytest
import tinymodels as tm
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from upstream import BEAMS, CACHE, CHUNKS

NEW = 5
GREEDY = {"max_new_tokens": NEW, "do_sample": False, "suppress_tokens": [tm.IMAGE]}


@pytest.fixture(scope="module")
def model():
    return tm.build("llava", layers=2)


@pytest.fixture(scope="module")
def crops():
    """A model whose pictures have several sizes."""
    return tm.build("next-llama", layers=2)


@pytest.fixture
def forwards(model, crops):
    """Keyword arguments of every forward of either model."""
    calls = []
    hook = lambda module, args, kwargs: calls.append(kwargs)  # noqa: E731
    handles = [one.register_forward_pre_hook(hook, with_kwargs=True) for one in (model, crops)]
    yield calls
    for handle in handles:
        handle.remove()


def one_picture(model, seed=1):
    return tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 5, seed=seed)])


def two_pictures(model):
    return tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0], tm.SIZES[2]], 5), tm.sample(model, 3, [], 7)])


def encoding(model, monkeypatch, mark="todre_probe"):
    """From now on the base model marks what it encodes; returns the list of what it encoded."""
    original, encoded = model.base_model.get_image_features, []

    @functools.wraps(original)
    def encode(*args, **kwargs):
        output = original(*args, **kwargs)
        setattr(output, mark, "here")
        encoded.append((kwargs, output))
        return output

    monkeypatch.setattr(model.base_model, "get_image_features", encode)
    return encoded


class TestEncoding:
    """Pictures are encoded before the first forward."""

    def test_once_and_by_the_names_in_the_methods_signature(self, crops, forwards, monkeypatch):
        inputs, encoded = one_picture(crops), encoding(crops, monkeypatch)
        crops.generate(**inputs, **GREEDY)
        ((kwargs, output),) = encoded
        names = set(inspect.signature(type(crops.base_model).get_image_features).parameters)
        assert {"pixel_values", "image_sizes"} <= set(kwargs) <= names | {"return_dict"}
        assert forwards[0]["mm_encoder_outputs"]["image"] is output
        assert forwards[0].get("pixel_values") is None

    def test_what_stands_in_for_a_forward_is_taken_for_it_by_its_signature(self, model, forwards, monkeypatch):
        """functools.wraps keeps it."""
        inputs, encoded, forward = one_picture(model), encoding(model, monkeypatch), model.forward
        monkeypatch.setattr(
            model, "forward", functools.wraps(forward)(lambda *args, **kwargs: forward(*args, **kwargs))
        )
        model.generate(**inputs, **GREEDY)
        assert len(encoded) == 1
        assert forwards[0]["mm_encoder_outputs"]["image"] is encoded[0][1]

    def test_later_forwards_have_neither_pixels_nor_what_was_encoded(self, model, forwards):
        model.generate(**one_picture(model), **GREEDY)
        assert len(forwards) == NEW
        for kwargs in forwards[1:]:
            assert not kwargs.get("mm_encoder_outputs")
            assert kwargs.get("pixel_values") is None
            assert kwargs["input_ids"].shape[1] == 1

    def test_what_was_encoded_is_an_object_that_holds_more(self):
        output = BaseModelOutputWithPooling(pooler_output=[torch.zeros(2, 3)])
        output.todre_probe = "here"
        output.pooler_output = list(output.pooler_output) * 2
        assert output.todre_probe == "here"


class TestBeams:
    """Samples are repeated for beams and for several answers."""

    @pytest.mark.parametrize("options", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}])
    def test_rows_of_a_sample_follow_each_other_and_the_mark_survives(self, model, forwards, monkeypatch, options):
        inputs = tm.batch(model, [tm.sample(model, 6, [tm.SIZES[0]], 5, seed=seed) for seed in (1, 2)])
        encoded = encoding(model, monkeypatch)
        model.generate(**inputs, **(GREEDY | options))
        received = forwards[0]["mm_encoder_outputs"]["image"]
        assert received is encoded[0][1]
        assert received.todre_probe == "here"
        assert torch.equal(forwards[0]["input_ids"], inputs["input_ids"].repeat_interleave(3, dim=0))
        alone = model.base_model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
        assert torch.equal(torch.stack(list(received.pooler_output)), torch.stack(list(alone)).repeat_interleave(3, 0))

    @BEAMS.mark
    def test_a_sample_with_several_pictures_gets_them_in_their_order(self, crops, forwards):
        inputs = two_pictures(crops)
        pictures = {name: inputs[name] for name in ("pixel_values", "image_sizes")}
        alone = crops.get_image_features(**pictures, return_dict=True).pooler_output
        crops.generate(**inputs, **GREEDY, num_beams=2)
        received = forwards[0]["mm_encoder_outputs"]["image"].pooler_output
        for got, expected in zip(received, [*alone, *alone], strict=True):
            assert got.shape == expected.shape
            assert torch.equal(got, expected)


class TestCaches:
    """The caller's own cache is used, and asked for its logical length."""

    def test_it_comes_back_as_the_same_object(self, model):
        cache = DynamicCache(config=model.config.text_config)
        out = model.generate(**one_picture(model), **GREEDY, **{CACHE: cache}, return_dict_in_generate=True)
        assert getattr(out, CACHE) is cache

    def test_a_second_turn_feeds_what_the_cache_says_it_lacks(self, model, forwards):
        inputs = one_picture(model)
        first = model.generate(**inputs, **GREEDY, return_dict_in_generate=True)
        cache = getattr(first, CACHE)
        ids = torch.cat([first.sequences, torch.tensor([[7, 8, 9]])], dim=1)
        del forwards[:]
        past = cache.get_seq_length()
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **{CACHE: cache}, **GREEDY)
        assert forwards[0]["input_ids"].shape[1] == ids.shape[1] - past == 4
        assert forwards[0]["position_ids"].tolist() == [[*range(past, ids.shape[1])]]

    def test_a_layer_that_answers_a_longer_length_is_believed(self, model, forwards):
        class Longer(DynamicLayer):
            def get_seq_length(self):
                return super().get_seq_length() + 40

            def get_mask_sizes(self, query_length):
                return super().get_seq_length() + query_length, 40

        inputs = one_picture(model)
        first = model.generate(**inputs, **GREEDY, return_dict_in_generate=True)
        cache = getattr(first, CACHE)
        for index, layer in enumerate(cache.layers):
            cache.layers[index] = longer = Longer()
            longer.update(layer.keys, layer.values)
        ids = torch.cat([torch.full((1, 40), 9), first.sequences, torch.tensor([[7, 8]])], dim=1)
        del forwards[:]
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **{CACHE: cache}, **GREEDY)
        assert forwards[0]["input_ids"].tolist() == ids[:, -3:].tolist()
        assert forwards[0]["position_ids"].tolist() == [[*range(ids.shape[1] - 3, ids.shape[1])]]
        assert [kwargs["position_ids"].item() for kwargs in forwards[1:]] == [ids.shape[1] + n for n in range(NEW - 1)]

    def test_positions_leave_padding_out(self, crops, forwards):
        inputs = tm.ragged(crops)
        crops.generate(**inputs, **GREEDY)
        given, real = forwards[0]["position_ids"], inputs["attention_mask"].bool()
        assert torch.equal(given[real], tm.positions(inputs["attention_mask"])[real])


class TestProposals:
    """Assisted decoding and prompt lookup propose several tokens at once, and take some of them back."""

    @pytest.fixture
    def crop(self, monkeypatch):
        """What caches are asked to take back."""
        asked, original = [], DynamicCache.crop
        monkeypatch.setattr(DynamicCache, "crop", lambda self, count: asked.append(count) or original(self, count))
        return asked

    def test_what_is_taken_back_is_a_negative_count(self, model, crop):
        inputs = one_picture(model)
        inputs["input_ids"][:, -2:] = inputs["input_ids"][:, :2]
        model.generate(**inputs, **(GREEDY | {"max_new_tokens": 12}), prompt_lookup_num_tokens=3)
        assert crop
        assert all(count <= 0 for count in crop)

    def test_the_first_forward_asks_for_one_more_logit_than_was_proposed(self, model, forwards):
        inputs = one_picture(model)
        inputs["input_ids"][:, -2:] = inputs["input_ids"][:, :2]
        length = inputs["input_ids"].shape[1]
        model.generate(**inputs, **GREEDY, prompt_lookup_num_tokens=3)
        proposed = forwards[0]["input_ids"].shape[1] - length
        assert proposed > 0
        assert forwards[0]["logits_to_keep"] == proposed + 1


@CHUNKS.mark
def test_a_chunked_prefill_cuts_what_was_encoded_into_new_objects(model, forwards, monkeypatch):
    """Which carry no mark, so that they are noticed."""
    inputs = one_picture(model)
    encoding(model, monkeypatch)
    model.generate(**inputs, **GREEDY, prefill_chunk_size=8)
    received = [media["image"] for kwargs in forwards if (media := kwargs.get("mm_encoder_outputs"))]
    assert len(received) > 1
    assert not any(hasattr(media, "todre_probe") for media in received)
