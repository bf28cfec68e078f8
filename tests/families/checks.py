"""What "verified" means: the checks that every specimen of a verified family has to pass, picture or clip.

Each compares with something that does not use the runtime: the untouched model, bit for bit; the untouched model that
does not see the columns which left; or, for batches, the same prompts one by one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from families.oracle import hidden_columns, mask_oracle, short_run
from families.prompts import Prompt, batch, prompt, ragged, words
from families.zoo.specimen import FIRST_WORD, Specimen
from oracles import attention_from_early_states
from torch import Tensor
from upstream import CACHE

import todre
from todre.hf.families import FAMILIES

STEPS, FEW = 8, 3
TOLERANCE = 1e-5
METHODS: dict[str, todre.Method] = {
    "stage-1": todre.ToDRE(retain=0.3, stages=(1,)),
    "both-stages": todre.ToDRE(retain=0.4, threshold=1.0, layers=(3,)),
    "stage-2": todre.ToDRE(stages=(2,), threshold=1.0, layers=(3,)),
}
GUARDED = todre.ToDRE(stages=(2,), threshold=1.0, layers=(2,), ratio_over="last", ahead="layers", floor=2)


def visual_columns(specimen: Specimen, model: Any, ids: Tensor) -> Tensor:
    """(b, q) bool: the columns of pictures and clips."""
    family = FAMILIES[specimen.model_type]
    tokens = {family.token_id(model.config, kind) for kind in ("image", "video") if kind == "image" or family.clips}
    visual = torch.zeros_like(ids, dtype=torch.bool)
    for token in tokens - {None}:
        visual |= ids == token
    return visual


def has_state(model: Any) -> bool:
    """Whether some layer carries a state, which no mask makes forget."""
    return bool({"linear_attention", "conv"} & set(layer_types(model)))


def generate(model: Any, inputs: dict[str, Any], **options: Any) -> Any:
    """Greedy, without special tokens: a random model may say them, and some models then refuse."""
    settings: dict[str, Any] = {
        "max_new_tokens": STEPS,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
        "suppress_tokens": list(range(FIRST_WORD)),
    }
    torch.manual_seed(3)
    return model.generate(**inputs, **(settings | options))


def same(got: Any, expected: Any, rows: slice | None = None) -> None:
    """Equal tokens, and logits within `TOLERANCE`."""
    rows = rows or slice(None)
    new = len(got.logits)
    assert torch.equal(got.sequences[rows, -new:], expected.sequences[:, -new:])
    for mine, theirs in zip(got.logits, expected.logits, strict=True):
        torch.testing.assert_close(mine[rows], theirs, atol=TOLERANCE, rtol=0)


def keep_all(specimen: Specimen, model: Any, kind: str) -> None:
    """Nothing dropped: the same bits as untouched."""
    inputs = batch(specimen, model, ragged(specimen, model, kind))
    expected = generate(model, inputs)
    stages = (1, 2) if "both-stages" in specimen.methods else (1,)
    with todre.prune(model, todre.ToDRE(retain=1.0, threshold=0.0, stages=stages)):
        got = generate(model, inputs)
    assert torch.equal(got.sequences, expected.sequences)
    for mine, theirs in zip(got.logits, expected.logits, strict=True):
        assert torch.equal(mine, theirs)


def against_the_oracle(specimen: Specimen, model: Any, eager: Any, kind: str, name: str) -> None:
    """A ragged batch, prefill and `STEPS` steps, against the untouched model that does not see what left."""
    prompts = ragged(specimen, model, kind)
    inputs = batch(specimen, model, prompts)
    with todre.prune(model, METHODS[name]) as report:
        got = generate(model, inputs)
    visual = visual_columns(specimen, model, inputs["input_ids"])
    check_report(report, visual, METHODS[name])
    layers = report.n_layers
    if not has_state(model):
        with mask_oracle(eager, hidden_columns(visual, report, layers)):
            same(got, generate(eager, inputs))
        return
    for row, one in enumerate(prompts):
        alone = batch(specimen, model, [one])
        gone = hidden_columns(visual_columns(specimen, model, alone["input_ids"]), _row(report, row), layers)
        with short_run(eager, gone):
            same(got, generate(eager, alone, use_cache=False), slice(row, row + 1))


class _Row:
    def __init__(self, report: Any, row: int) -> None:
        self.kept = [report.kept[row]]
        self.dropped_after_layer = [report.dropped_after_layer[row]]


def _row(report: Any, row: int) -> Any:
    return _Row(report, row)


def check_report(report: Any, visual: Tensor, method: Any) -> None:
    """Something was dropped, and as much as was asked for."""
    counts = visual.sum(dim=1).tolist()
    assert report.visual_tokens_before == counts
    if 1 in method.stages:
        assert report.visual_tokens_after == [max(1, round(method.retain * n)) if n else 0 for n in counts]
    if 2 in method.stages:
        assert all((layer is not None) == (n > 0) for layer, n in zip(report.dropped_after_layer, counts, strict=True))


def looks_ahead(specimen: Specimen, model: Any, eager: Any, kind: str) -> Any:
    """Estimates of later layers, and the floor, against the untouched model that is given early states."""
    prompts = ragged(specimen, model, kind)
    with todre.prune(model, GUARDED) as report:
        generate(model, batch(specimen, model, prompts), max_new_tokens=1)
    for row, one in enumerate(prompts):
        alone = batch(specimen, eager, [one])
        visual = visual_columns(specimen, eager, alone["input_ids"])[0]
        if not visual.any():
            assert report.ratios_ahead[row] == {}
        elif "sliding_attention" not in layer_types(eager):
            assert [list(found) for found in report.ratios_ahead[row].values()] == [full_after(eager, 2)]
        for layer, found in report.ratios_ahead[row].items():
            kept = report.kept_from_layer[row][layer]
            weights = attention_of(eager, alone, layer, layer)[-1]
            best = sorted(weights[visual].topk(2).indices.tolist())
            assert kept == best
            for later, ratios in found.items():
                expected = attention_of(eager, alone, layer, later)[-1][visual].sum().item()
                assert abs(ratios.text_to_visual - expected) < TOLERANCE
    return report


def layer_types(model: Any) -> list[str]:
    """The types of the decoder's layers, or an empty list if all are of one type."""
    return list(getattr(model.config.get_text_config(decoder=True), "layer_types", None) or [])


def full_after(model: Any, layer: int) -> list[int]:
    """Layers (1-based) with full attention after the last one at or before `layer`, or after the first of all."""
    types = layer_types(model) or ["full_attention"] * 4
    full = [index + 1 for index, kind in enumerate(types) if kind == "full_attention"]
    asked = max([each for each in full if each <= layer], default=full[0])
    return [each for each in full if each > asked]


@torch.no_grad()
def attention_of(eager: Any, inputs: dict[str, Any], layer: int, later: int) -> Tensor:
    """Attention of layer `later` on the states after `layer`, mean over heads, (q, q), of a batch of one."""
    early = layer if later > layer else layer - 1
    return attention_from_early_states(eager, inputs, early, later)[0].double().mean(0)


def batch_equals_singles(specimen: Specimen, model: Any, kind: str, name: str) -> None:
    """Ragged rows, one of them without a picture, left-padded."""
    prompts = ragged(specimen, model, kind)
    with todre.prune(model, METHODS[name]):
        together = generate(model, batch(specimen, model, prompts), max_new_tokens=FEW)
        for row, one in enumerate(prompts):
            alone = generate(model, batch(specimen, model, [one]), max_new_tokens=FEW)
            same(together, alone, slice(row, row + 1))


def second_turn(specimen: Specimen, model: Any, eager: Any, kind: str, name: str) -> None:
    """A second question, on the same cache, about the pictures of the first turn."""
    prompts = ragged(specimen, model, kind)[:2]
    inputs = batch(specimen, model, prompts)
    with todre.prune(model, METHODS[name]) as report:
        first = generate(model, inputs, max_new_tokens=2)
        second = {CACHE: getattr(first, CACHE), "max_new_tokens": FEW}
        got = generate(model, follow_up(specimen, model, inputs, first), **second)
    visual = visual_columns(specimen, model, inputs["input_ids"])
    if has_state(model):
        _recompute_second_turn(specimen, eager, prompts, report, first, got)
        return
    oracle: AbstractContextManager[None] = mask_oracle(eager, hidden_columns(visual, report, report.n_layers))
    with oracle:
        one = generate(eager, inputs, max_new_tokens=2)
        second = {CACHE: getattr(one, CACHE), "max_new_tokens": FEW}
        expected = generate(eager, follow_up(specimen, eager, inputs, one), **second)
    same(got, expected)


def _recompute_second_turn(
    specimen: Specimen, eager: Any, prompts: list[Prompt], report: Any, first: Any, got: Any
) -> None:
    """Row by row, the whole conversation at once and without a cache, on really shortened tensors."""
    for row, one in enumerate(prompts):
        alone = batch(specimen, eager, [one])
        answer = first.sequences[row : row + 1, -len(first.logits) :]
        ids = torch.cat([alone["input_ids"], answer, words(5, 900 + row)[None]], dim=1)
        whole = alone | {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | specimen.columns(eager, ids)
        gone = hidden_columns(visual_columns(specimen, eager, ids), _row(report, row), report.n_layers)
        with short_run(eager, gone):
            same(got, generate(eager, whole, use_cache=False, max_new_tokens=FEW), slice(row, row + 1))


def follow_up(specimen: Specimen, model: Any, inputs: dict[str, Any], first: Any) -> dict[str, Any]:
    """The conversation so far and five more words."""
    rows = first.sequences.shape[0]
    more = torch.stack([words(5, 900 + row) for row in range(rows)])
    ids = torch.cat([first.sequences, more], dim=1)
    mask = torch.ones_like(ids)
    mask[:, : inputs["attention_mask"].shape[1]] = inputs["attention_mask"]
    return {"input_ids": ids, "attention_mask": mask, **specimen.columns(model, ids)}


def several_kinds(specimen: Specimen, model: Any) -> list[Prompt]:
    """A picture and a clip in one prompt."""
    picture, clip = specimen.media(model, "image", 0), specimen.media(model, "video", 1)
    return [prompt(5, [picture, clip], 6, seed=11), prompt(6, [clip], 4, seed=12)]
