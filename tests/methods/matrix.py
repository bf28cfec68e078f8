"""Checks that every method must pass on tiny models of three families.

Beside them stands what is known of each method beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from families.checks import generate, visual_columns
from families.oracle import mask_oracle
from families.prompts import batch, prompt, ragged, words
from families.specimens import all_specimens, model_of
from families.zoo.specimen import Specimen
from torch import Tensor
from upstream import CACHE

import todre
from todre.methods import registry

FEW = 3
TOLERANCE = 1e-5
FAMILIES = ("llava_next-llama", "qwen2_5_vl", "internvl-qwen2")

SETTINGS: dict[str, dict[str, Any]] = {
    "todre": {"threshold": 1.0},
    "todre-stage-2": {"threshold": 1.0},
    "todre-v1": {"threshold": 1.0},
    "todre-ahead": {"threshold": 1.0},
    "todre-ahead-all": {"threshold": 1.0},
    "todre-last": {"threshold": 1.0},
    "todre-floor": {"threshold": 1.0, "floor": 3},
    "todre-horizon": {"threshold": 1.0},
    "erase": {"late": 3},
    "erase-qwen3": {"early": 2, "late": 3},
    "fitprune": {"deletions": (0.1, 0.2, 0.3, 0.0)},
    "g-search": {"kept": (0.8, 0.5, 0.2, 0.2)},
    "mustdrop": {"total_threshold": 0.05, "single_threshold": 0.5, "layers": (1, 2)},
    "swiftvlm": {"layers": (1, 2, 3), "retain": 0.3},
}
"""Where defaults do not do for decoders of four layers, or do nothing."""

ALL: dict[str, dict[str, Any]] = {
    "todre": {"retain": 1.0, "threshold": 0.0},
    "todre-stage-2": {"threshold": 0.0},
    "todre-v1": {"retain": 1.0, "threshold": 0.0},
    "todre-ahead": {"retain": 1.0, "threshold": 0.0},
    "todre-ahead-all": {"retain": 1.0, "threshold": 0.0},
    "todre-last": {"retain": 1.0, "threshold": 0.0},
    "todre-floor": {"retain": 1.0, "threshold": 0.0},
    "todre-horizon": {"retain": 1.0, "threshold": 0.0},
    "fitprune": {"deletions": (0.0, 0.0, 0.0, 0.0)},
    "g-search": {"kept": (1.0, 1.0, 1.0, 1.0)},
    "mustdrop": {"total_threshold": 0.0, "single_threshold": 0.0},
    "vflowopt": {"retain": 1.0, "ratios": (1.0, 1.0)},
    "vscan": {"retain": 1.0, "deep": 1.0},
    "vtw": {"layer": 1.0},
}
"""How to keep everything, where `retain=1.0` is not the way."""

QWEN, NEXT, INTERN = FAMILIES[1], FAMILIES[0], FAMILIES[2]
REFUSED: dict[str, set[str]] = {
    "cls-top-k": {QWEN},
    "crop-skip": {QWEN, INTERN},
    "downsample": {QWEN, NEXT, INTERN},  # it acts before the processor; tests/processing has it on these families
    "erase": {NEXT, INTERN},
    "erase-qwen3": {NEXT, INTERN},
    "evit": {QWEN},
    "evs": {QWEN, NEXT, INTERN},
    "fastervlm": {QWEN},
    "ficoco-v": {QWEN},
    "flowcut": {QWEN},
    "flowcut-anyres": {QWEN},
    "glimpseprune": {QWEN, NEXT, INTERN},  # its weights are the shipped model's; tests/glimpse has weights for these
    "pixelprune": {NEXT, INTERN},
    "tome": {QWEN},
    "vidcom2": {QWEN, NEXT, INTERN},
}
"""Families on which a method says in one sentence why it does not apply."""

MERGING = {
    "erase",
    "erase-qwen3",
    "evit",
    "ficoco-l",
    "ficoco-v",
    "flowcut",
    "flowcut-anyres",
    "nuwa",
    "pixelprune",
    "pooling",
    "prumerge",
    "prumerge-plus",
    "sparsevlm",
    "swiftvlm",
    "tome",
    "vflowopt",
    "visionzip",
    "vscan",
}
"""Methods whose tokens change, so that hiding columns of the untouched model is no reference."""


def specimen_of(family: str) -> Specimen:
    """The tiny model of a family."""
    return next(one for one in all_specimens() if one.name == family)


def method_of(name: str, **settings: Any) -> todre.Method:
    """The method with the settings of the matrix."""
    found = registry.entry(name)
    share = {"retain": 0.3} if "retain" in found.settings else {}
    return registry.create(name, **(share | SETTINGS.get(name, {}) | settings))


def is_exact(name: str) -> bool:
    """True if the method must leave exactly `retain` tokens.

    They are left before the LLM, or after the last stage inside it.
    """
    entry = registry.entry(name)
    one_place = entry.card.acts in (("select",), ("reduce",))
    return one_place and "retain" in entry.settings and entry.card.budget.lower().startswith("exact")


def everything(name: str) -> todre.Method | None:
    """The method set to keep all tokens; None if it cannot be."""
    if name in ALL:
        return registry.create(name, **ALL[name])
    known = "retain" in registry.entry(name).settings
    return method_of(name, retain=1.0) if known else None


def gone_columns(report: Any, visual: Tensor) -> Tensor:
    """Columns that each layer did not run on, by the report, (b, layers, q) bool."""
    rows, length = visual.shape
    gone = torch.zeros(rows, report.n_layers, length, dtype=torch.bool)
    for row in range(rows):
        columns = visual[row].nonzero().flatten()
        for layers, kept in sorted(report.kept_from_layer[row].items()):
            gone[row, layers:] = visual[row]
            gone[row, layers:, columns[kept]] = False
    return gone


def logits_of(output: Any) -> Tensor:
    """Logits of all steps, (steps, b, vocab)."""
    return torch.stack(list(output.logits))


@contextmanager
def untouched_after(model: Any) -> Iterator[None]:
    """Check that no hook and no attribute stays behind."""
    before = _state(model)
    yield
    assert _state(model) == before


def _state(model: Any) -> list[Any]:
    return [
        (name, len(module._forward_hooks), len(module._forward_pre_hooks), sorted(vars(module)))
        for name, module in model.named_modules()
    ]


def keeps_all(model: Any, inputs: dict[str, Any], method: todre.Method) -> None:
    """Check that the output is bit-equal to that of the untouched model."""
    expected = generate(model, inputs, max_new_tokens=FEW)
    with todre.prune(model, method):
        got = generate(model, inputs, max_new_tokens=FEW)
    assert torch.equal(logits_of(got), logits_of(expected))


def agrees_with_itself(specimen: Specimen, model: Any, method: todre.Method, kind: str = "image") -> Any:
    """Check that a ragged batch equals its singles, and itself a second time.

    Returns:
        (inputs, report, output) of the batch.
    """
    prompts = ragged(specimen, model, kind)
    inputs = batch(specimen, model, prompts)
    generate(model, inputs, max_new_tokens=1)  # transformers leaves something behind in its first call
    with untouched_after(model), todre.prune(model, method) as report:
        together = generate(model, inputs, max_new_tokens=FEW)
        kept = report.kept_from_layer
        again = generate(model, inputs, max_new_tokens=FEW)
        assert report.kept_from_layer == kept
        assert torch.equal(logits_of(again), logits_of(together))
        for row, one in enumerate(prompts):
            alone = generate(model, batch(specimen, model, [one]), max_new_tokens=FEW)
            torch.testing.assert_close(logits_of(alone)[:, 0], logits_of(together)[:, row], atol=TOLERANCE, rtol=0)
            if kept[row][0]:
                assert report.kept_from_layer == [kept[row]]
        generate(model, inputs, max_new_tokens=FEW)
        report_of_batch = report.to_dict()
    assert json.loads(json.dumps(report_of_batch)) == report_of_batch
    return inputs, report, together


def hides_what_it_dropped(specimen: Specimen, eager: Any, inputs: Any, report: Any, got: Any) -> None:
    """Check against the untouched model with dropped tokens masked, at every step."""
    visual = visual_columns(specimen, eager, inputs["input_ids"])
    with mask_oracle(eager, gone_columns(report, visual)):
        expected = generate(eager, inputs, max_new_tokens=FEW)
    torch.testing.assert_close(logits_of(got), logits_of(expected), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def decodes_as_it_recomputes(specimen: Specimen, model: Any, method: todre.Method, kind: str = "image") -> None:
    """Check that steps on the cache equal one forward of prompt and answer.

    The answer is proposed as in assisted decoding.
    """
    one = prompt(5, [specimen.media(model, kind, 1)], 6, seed=4)
    inputs = batch(specimen, model, [one])
    del inputs["attention_mask"]  # nothing is padded
    answer = words(FEW, 77)[None]
    with todre.prune(model, method) as report:
        first = model(**inputs, use_cache=True, logits_to_keep=1)
        kept, steps, cache = report.kept_from_layer, [first.logits[:, -1]], getattr(first, CACHE)
        for index in range(FEW):
            step = model(input_ids=answer[:, index : index + 1], **{CACHE: cache})
            steps.append(step.logits[:, -1])
        ids = torch.cat([inputs["input_ids"], answer], dim=1)
        whole = inputs | {"input_ids": ids} | specimen.columns(model, ids)
        together = model(**whole, use_cache=True, logits_to_keep=FEW + 1)
        assert report.kept_from_layer == kept
    torch.testing.assert_close(torch.stack(steps, dim=1), together.logits, atol=TOLERANCE, rtol=0)


def eager_of(family: str) -> Any:
    """The same weights with eager attention, as a reference."""
    return model_of(family, "eager")
