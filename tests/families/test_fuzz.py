"""Random prompts: pictures × text × padding × turns. A batch gives what its prompts give one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pytest
import torch
from families import checks
from families.prompts import Prompt, batch, words
from families.specimens import all_specimens
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import DynamicCache
from upstream import CACHE

import todre

METHODS = (
    todre.ToDRE(retain=0.3, stages=(1,)),
    todre.ToDRE(retain=5, threshold=1.0, layers=(2,), per="image"),
    todre.ToDRE(retain=0.5, threshold=0.3, layers=(1, 2, 3), diversity="k_center"),
    todre.ToDRE(stages=(2,), threshold=0.4, layers=(2, 3)),
    todre.RandomTokens(retain=0.25, seed=3),
)
FAMILIES = ("llava", "gemma3", "internvl-qwen2", "qwen2_5_vl", "smolvlm", "paligemma")
QUICK = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@dataclass(frozen=True)
class Row:
    """Text lengths and pictures of one prompt, in order, and the length of the question that follows."""

    parts: tuple[tuple[int, int | None], ...]
    second: int
    seed: int


def without_repeats(parts):
    """Each picture once: two copies tie for every place, and rounding in the tower would break the tie."""
    seen = set()
    return tuple((length, None if v is None or v in seen or seen.add(v) else v) for length, v in parts)


rows = st.builds(
    Row,
    parts=st.lists(st.tuples(st.integers(1, 9), st.one_of(st.none(), st.integers(0, 2))), min_size=1, max_size=3).map(
        without_repeats
    ),
    second=st.integers(1, 6),
    seed=st.integers(0, 999),
)


@lru_cache(maxsize=len(FAMILIES) + 1)
def built(name):
    specimen = next(one for one in all_specimens() if one.name == name)
    return specimen, specimen.build("sdpa")


def prompt_of(specimen, model, row):
    parts = []
    for index, (length, variant) in enumerate(row.parts):
        if variant is not None:
            parts.append(specimen.media(model, "image", variant))
        parts.append(words(length, row.seed + index))
    return Prompt((words(2, row.seed + 50), *parts))


def places(mask):
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


@torch.no_grad()
def converse(specimen, model, some, side="left"):
    """Logits of the real text columns of two turns on one cache, (turn, row) to (columns, vocabulary)."""
    prompts = [prompt_of(specimen, model, row) for row in some]
    inputs = batch(specimen, model, prompts, side)
    mask, ids = inputs["attention_mask"], inputs["input_ids"]
    cache = DynamicCache(config=model.config.text_config)
    first = model(**inputs, position_ids=places(mask), **{CACHE: cache}).logits
    longest = max(row.second for row in some)
    second = torch.zeros(len(some), longest, dtype=torch.long)
    more = torch.zeros_like(second)
    for index, row in enumerate(some):
        second[index, longest - row.second :] = words(row.second, row.seed + 70)
        more[index, longest - row.second :] = 1
    whole = torch.cat([mask, more], dim=1)
    then = model(
        input_ids=second, attention_mask=whole, position_ids=places(whole)[:, -longest:], **{CACHE: cache}
    ).logits
    text = (mask == 1) & (ids != model.config.image_token_id)
    return [[first[i][text[i]], then[i][more[i] == 1]] for i in range(len(some))]


def equal(together, alone):
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many, one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
@settings(max_examples=100, **QUICK)
@given(some=st.lists(rows, min_size=2, max_size=3), method=st.sampled_from(METHODS))
def test_two_turns_on_one_cache(side, some, method):
    specimen, model = built("llava_next-llama")
    with todre.prune(model, method):
        together = converse(specimen, model, some, side)
        for index, row in enumerate(some):
            equal(together[index], converse(specimen, model, [row])[0])


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25, **QUICK)
@given(some=st.lists(rows, min_size=2, max_size=3), method=st.sampled_from(METHODS))
def test_generations(name, some, method):
    specimen, model = built(name)
    prompts = [prompt_of(specimen, model, row) for row in some]
    with todre.prune(model, method):
        together = checks.generate(model, batch(specimen, model, prompts), max_new_tokens=2)
        for index, one in enumerate(prompts):
            alone = checks.generate(model, batch(specimen, model, [one]), max_new_tokens=2)
            checks.same(together, alone, slice(index, index + 1))
