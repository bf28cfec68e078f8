"""A release of transformers that changed what pruning relies on is noticed: at attach, or right after a prefill."""

from __future__ import annotations

import functools
import inspect

import pytest
import tinymodels as tm
import torch
from transformers import DynamicCache, StaticCache
from transformers.modeling_outputs import BaseModelOutputWithPast
from upstream import CACHE

import todre
from todre.errors import ContractError, UnsupportedInputError
from todre.hf import contract
from todre.hf.calls import Door

METHODS = {
    "stage-1": todre.ToDRE(retain=0.2, stages=(1,)),
    "stage-2": todre.ToDRE(retain=1.0, stages=(2,), threshold=1.0),
    "both": todre.ToDRE(retain=0.2, threshold=1.0),
}


@pytest.fixture(params=["llava", "next-llama", "next-mistral"])
def model(request):
    return tm.build(request.param)


def parts(model):
    """The forwards that a renamed keyword would change, by name of the part."""
    decoder = model.get_decoder()
    return {
        "model": type(model),
        "base": type(model.base_model),
        "decoder": type(decoder),
        "layer": type(decoder.layers[0]),
    }


def renamed(forward, old, new):
    """`forward` with a parameter called `new` in place of `old`, as in a release that renamed it."""

    def changed(*args, **kwargs):
        return forward(*args, **{old if name == new else name: value for name, value in kwargs.items()})

    signature = inspect.signature(forward)
    fields = [each.replace(name=new) if each.name == old else each for each in signature.parameters.values()]
    changed.__signature__ = signature.replace(parameters=fields)
    return changed


@pytest.mark.parametrize("part", ["model", "base", "decoder", "layer"])
@pytest.mark.parametrize(("old", "new"), [(CACHE, "kv_cache"), ("attention_mask", "mask")])
def test_a_renamed_keyword_is_refused_at_attach(model, part, old, new, monkeypatch):
    changed = parts(model)[part]
    monkeypatch.setattr(changed, "forward", renamed(changed.forward, old, new))
    before = {name: sorted(vars(module)) for name, module in model.named_modules()}
    with pytest.raises(ContractError, match=f"todre does not understand transformers .*{changed.__name__}"):
        todre.attach(model, METHODS["both"])
    assert {name: sorted(vars(module)) for name, module in model.named_modules()} == before


@pytest.mark.parametrize("part", ["model", "base", "decoder"])
@pytest.mark.parametrize("old", ["inputs_embeds", "input_ids"])
def test_renamed_inputs_are_refused_at_attach(model, part, old, monkeypatch):
    changed = parts(model)[part]
    monkeypatch.setattr(changed, "forward", renamed(changed.forward, old, "tokens"))
    with pytest.raises(ContractError, match=repr(old)):
        todre.attach(model, METHODS["both"])


def test_two_names_for_one_cache_are_refused_at_attach(model, monkeypatch):
    layer = parts(model)["layer"]
    forward = layer.forward

    def both(self, hidden_states, attention_mask=None, cache=None, past_key_values=None, **kwargs):
        return forward(self, hidden_states, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(layer, "forward", both)
    with pytest.raises(ContractError, match="KV cache"):
        todre.attach(model, METHODS["both"])


def without_options(config, inputs_embeds, attention_mask, cache, position_ids=None, **kwargs):
    """A builder of masks that has lost an option."""


def renamed_cache(config, inputs_embeds, attention_mask, kv, layer_idx=None, allow_is_causal_skip=True):
    """A builder of masks that calls the cache otherwise."""


@pytest.mark.parametrize("builder", [without_options, renamed_cache])
def test_a_changed_mask_builder_is_refused_at_attach(model, builder, monkeypatch):
    monkeypatch.setattr(contract, "create_causal_mask", builder)
    with pytest.raises(ContractError, match="create_causal_mask"):
        todre.attach(model, METHODS["both"])


def test_a_mask_of_another_shape_is_noticed(model, monkeypatch):
    """As from a builder that no longer asks the cache for its lengths."""
    from todre.hf import versions

    made = versions.create_causal_mask

    @functools.wraps(made)
    def longer(**kwargs):
        return torch.nn.functional.pad(made(**kwargs), (0, 1))

    monkeypatch.setattr(versions, "create_causal_mask", longer)
    with todre.prune(model, METHODS["both"]), pytest.raises(ContractError, match="mask"):
        model(**tm.ragged(model))


@pytest.mark.parametrize("name", ["crop", "get_mask_sizes", "batch_select_indices"])
def test_a_cache_layer_without_what_is_overridden_is_refused_at_attach(model, name, monkeypatch):
    class Other:
        pass

    known = contract.DynamicLayer
    for each in dir(known):
        if callable(getattr(known, each)) and not each.startswith("__") and each != name:
            setattr(Other, each, getattr(known, each))
    monkeypatch.setattr(contract, "DynamicLayer", Other)
    with pytest.raises(ContractError, match=name):
        todre.attach(model, METHODS["both"])


def another(decoder, cache):
    """A new cache of the same kind."""
    if isinstance(cache, StaticCache):
        return StaticCache(config=decoder.config, max_cache_len=cache.layers[0].max_cache_len)
    return DynamicCache(config=decoder.config)


def ignoring(forward):
    """A decoder that fills a cache of its own, as one does that looks for it under another name."""

    @functools.wraps(forward)
    def own(self, **kwargs):
        return forward(self, **(kwargs | {CACHE: another(self, kwargs.get(CACHE))}))

    return own


def hiding(forward):
    """A decoder that fills a cache of its own, and says nothing of it."""

    @functools.wraps(forward)
    def own(self, **kwargs):
        output = forward(self, **(kwargs | {CACHE: another(self, kwargs.get(CACHE))}))
        return BaseModelOutputWithPast(last_hidden_state=output.last_hidden_state)

    return own


@pytest.mark.parametrize("other", [ignoring, hiding])
@pytest.mark.parametrize(
    ("name", "given"),
    [*((name, given) for name in sorted(METHODS) for given in ("none", "dynamic")), ("stage-1", "static")],
)
def test_a_cache_that_is_ignored_is_noticed(model, other, name, given, monkeypatch):
    """Never an answer that says that the cache became shorter when it did not."""
    decoder = parts(model)["decoder"]
    inputs = tm.ragged(model)
    caches = {
        "none": lambda: None,
        "dynamic": lambda: DynamicCache(config=model.config.get_text_config()),
        "static": lambda: StaticCache(config=model.config.get_text_config(), max_cache_len=200),
    }
    monkeypatch.setattr(decoder, "forward", other(decoder.forward))
    with todre.prune(model, METHODS[name]), pytest.raises(ContractError, match="transformers"):
        model(**inputs, use_cache=True, **{CACHE: caches[given]()})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_layer_that_keeps_its_columns_elsewhere_is_noticed(model, name, monkeypatch):
    """One layer of many that does not hand its keys to the cache."""
    layer = model.get_decoder().layers[-1]
    forward = type(layer).forward

    @functools.wraps(forward)
    def apart(self, *args, **kwargs):
        return forward(self, *args, **(kwargs | {CACHE: None} if self is layer else kwargs))

    monkeypatch.setattr(type(layer), "forward", apart)
    with todre.prune(model, METHODS[name]), pytest.raises(ContractError, match="layer 8"):
        model(**tm.ragged(model), use_cache=True)


@pytest.mark.parametrize("old", ["cache", "past_key_values"])
def test_a_cache_comes_in_under_either_name(model, old, recwarn):
    """The name of older releases is still taken; of two caches neither is thrown away."""
    inputs = tm.ragged(model)
    door = Door.of(model.get_decoder())
    cache = DynamicCache(config=model.config.get_text_config())
    call = door.read((), {"inputs_embeds": torch.zeros(1, 3, 4), old: cache})
    assert call.cache is cache
    assert door.write(call)[CACHE] is cache
    with pytest.raises(UnsupportedInputError, match="Two caches"):
        door.read((), {"cache": cache, "past_key_values": DynamicCache()})
    with todre.prune(model, METHODS["stage-1"]) as report:
        model(**inputs, **{CACHE: cache})
    assert cache.layers[0].keys.nbytes // len(inputs["input_ids"]) * 2 * 8 == report.kv_bytes[0]


def test_positional_arguments_get_their_names(model):
    """Decoders and models are called as their signature allows."""
    inputs = tm.ragged(model)
    with todre.prune(model, METHODS["both"]):
        expected = model(**inputs).logits
        rest = {name: value for name, value in inputs.items() if name not in ("input_ids", "pixel_values")}
        assert torch.equal(model(inputs["input_ids"], inputs["pixel_values"], **rest).logits, expected)
    decoder = model.get_decoder()
    with pytest.raises(UnsupportedInputError, match="positional"):
        Door.of(decoder).read((None,) * 40, {})


def test_nothing_is_warned_of_because_of_how_todre_calls(model, caplog, recwarn):
    inputs = tm.ragged(model)
    with todre.prune(model, METHODS["both"]):
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
    reply = [str(one.message) for one in recwarn.list] + [one.getMessage() for one in caplog.records]
    assert not [line for line in reply if "deprecated" in line or CACHE in line]


def handing_on(cls, named):
    """A user's subclass of `cls` that names so many of its arguments, and hands on the rest."""
    if named == "none":

        def forward(self, **kwargs):
            return cls.forward(self, **kwargs)
    elif named == "by position":

        def forward(self, *args, **kwargs):
            return cls.forward(self, *args, **kwargs)
    elif named == "wrapped":

        @functools.wraps(cls.forward)
        def forward(self, *args, **kwargs):
            return cls.forward(self, *args, **kwargs)
    else:

        def forward(self, input_ids=None, attention_mask=None, **kwargs):
            return cls.forward(self, input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    return type(f"Own{cls.__name__}", (cls,), {"forward": forward})


@pytest.mark.parametrize("part", ["model", "base", "decoder", "layer"])
@pytest.mark.parametrize("named", ["none", "by position", "wrapped", "some"])
def test_subclasses_that_hand_their_arguments_on_are_understood(model, part, named):
    if (part == "layer" and named in ("none", "some")) or (part == "base" and named == "none"):
        named = "by position"  # what calls them gives their first argument by position
    inputs = tm.ragged(model)
    with torch.no_grad(), todre.prune(model, METHODS["both"]):
        expected = model(**inputs).logits
    decoder = model.get_decoder()
    changed = {"model": model, "base": model.base_model, "decoder": decoder, "layer": decoder.layers[3]}[part]
    changed.__class__ = handing_on(type(changed), named)
    with torch.no_grad(), todre.prune(model, METHODS["both"]) as report:
        got = model(**inputs)
        assert torch.equal(got.logits, expected)
        again = model(input_ids=inputs["input_ids"][:, :1], **{CACHE: got[CACHE]})
    assert report.kv_bytes[0] < report.kv_bytes_unpruned[0]
    assert again[CACHE].get_seq_length() == inputs["input_ids"].shape[1] + 1
    if part in ("model", "base") and named == "by position":
        with torch.no_grad(), todre.prune(model, METHODS["both"]):
            called = model if part == "model" else model.base_model
            rest = {name: value for name, value in inputs.items() if name not in ("input_ids", "pixel_values")}
            hidden = called(inputs["input_ids"], inputs["pixel_values"], **rest)[0]
            by_name = called(**inputs)[0]
        assert torch.equal(hidden, by_name)
