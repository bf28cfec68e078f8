"""Run a small model that was loaded or wrapped in some way, and the references that its pruned runs must equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import oracles
import tinymodels as tm
import torch
from torch import Tensor

import todre

LAYERS = 4
STEPS = 4
BOTH = todre.ToDRE(retain=0.2, threshold=1.0, layers=(2,))
FIRST = todre.ToDRE(retain=0.2, stages=(1,))


@dataclass
class Run:
    """What a model said: logits of a forward over a ragged batch, and greedy tokens."""

    logits: Tensor
    tokens: Tensor
    report: Any = None


@torch.no_grad()
def prefill(called: Any, inputs: dict[str, Tensor], **kwargs: Any) -> Tensor:
    """Logits of one forward."""
    return called(**inputs, position_ids=tm.positions(inputs["attention_mask"]), **kwargs).logits


def run(called: Any, inputs: dict[str, Tensor], generating: Any = None, **options: Any) -> Run:
    """Forward and `generate`; the latter on `generating` where a wrapper has none."""
    model = called if generating is None else generating
    logits = prefill(called, inputs)
    return Run(logits, model.generate(**inputs, max_new_tokens=STEPS, do_sample=False, **options))


def pruned(model: Any, inputs: dict[str, Tensor], method: Any = BOTH, generating: Any = None, **options: Any) -> Run:
    """`run` while `model` is pruned."""
    with todre.prune(model, method) as report:
        result = run(model, inputs, generating, **options)
    result.report = report
    return result


def masked(called: Any, inner: Any, inputs: dict[str, Tensor], report: Any, generating: Any = None) -> Run:
    """What `called` says where the columns that `report` tells of are masked in the untouched `inner` model."""
    gone = oracles.from_report(report, inputs["input_ids"] == tm.IMAGE, LAYERS)
    assert gone.any()
    with oracles.mask_oracle(inner, gone, inputs["attention_mask"]):
        return run(called, inputs, generating)


def text(inputs: dict[str, Tensor]) -> Tensor:
    """(b, q) bool: columns whose logits mean something after pruning."""
    return (inputs["attention_mask"] == 1) & (inputs["input_ids"] != tm.IMAGE)


def assert_same(got: Run, expected: Run, inputs: dict[str, Tensor], atol: float = 1e-5) -> None:
    """Equal tokens, and logits of text within `atol`."""
    columns = text(inputs)
    torch.testing.assert_close(got.logits[columns], expected.logits[columns], atol=atol, rtol=0)
    assert torch.equal(got.tokens, expected.tokens)


def state(model: Any) -> dict[Any, Any]:
    """Everything that attaching could leave behind."""
    found: dict[Any, Any] = {}
    for name, module in model.named_modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks"):
            found[name, kind] = len(getattr(module, kind))
        found[name, "attributes"] = sorted(vars(module))
        found[name, "forward"] = vars(module).get("forward")
    return found
