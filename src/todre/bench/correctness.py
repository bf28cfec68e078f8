"""Checks that pruning is right on a device, for every backend and dtype.

Each backend and dtype is compared with the untouched model and with float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from todre.bench.oracle import shorten
from todre.bench.presets import Preset
from todre.bench.prompts import Prompt, random_prompt
from todre.bench.random_models import build
from todre.bench.run import set_backend
from todre.bench.workloads import Pruned
from todre.errors import TodreError
from todre.hf.decoder_runs import numbers_axes
from todre.hf.keywords import EMBEDS, LOGITS_TO_KEEP, MASK
from todre.methods.base import Method, NoPruning
from todre.methods.random import RandomTokens
from todre.methods.todre import ToDRE
from todre.pruning import prune

BACKENDS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Largest difference of logits from float32, as a share of the largest logit."""
KEEP_ALL = (NoPruning(), RandomTokens(retain=1.0), ToDRE(retain=1.0, stages=(1,)))

Check = dict[str, Any]


def check(
    preset: Preset,
    device: torch.device,
    backends: Sequence[str] = BACKENDS,
    tick: Callable[[str], None] = lambda what: None,
) -> list[Check]:
    """Rows of the check, one for each backend and dtype, with the differences found.

    Two prompts of random pixels are run. A row has three results; the last two are shares of the largest logit:

    * `keep_all`: True if methods that keep everything change no bit;
    * `oracle`: difference of stage 1, with renumbered positions, from the untouched model on the hand-shortened prompt;
    * `float32`: difference from the first row, with the same kept tokens.

    A backend that cannot be used here gets a row with the reason.
    """
    rows: list[Check] = []
    reference: Tensor | None = None
    whole = build(preset, device, torch.float32, "sdpa")
    for dtype in TOLERANCES:
        model = whole if dtype == torch.float32 else _converted(whole, preset, device, dtype)
        prompt = random_prompt(model, preset, 2, 40)
        for backend in backends:
            name = f"{backend}/{str(dtype).removeprefix('torch.')}"
            tick(name)
            try:
                set_backend(model, backend)
                found, logits = _differences(model, prompt, reference)
            except (TodreError, RuntimeError, ImportError) as error:
                rows.append({"name": name, "left_out": (str(error).strip().splitlines() or [type(error).__name__])[0]})
                continue
            reference = logits if reference is None else reference
            ok = found["keep_all"] and found["oracle"] <= TOLERANCES[dtype] and found["float32"] <= TOLERANCES[dtype]
            rows.append({"name": name, **found, "ok": ok})
    return rows


@torch.inference_mode()
def _differences(model: Any, prompt: Prompt, reference: Tensor | None) -> tuple[Check, Tensor]:
    """Differences of one backend and dtype, and logits for comparison with others.

    The logits belong to a pruned prompt whose kept tokens do not depend on computed numbers.
    """
    plain = _logits(model, prompt, None)
    kept = [bool(torch.equal(plain, _logits(model, prompt, method))) for method in KEEP_ALL]
    drawn = _logits(model, prompt, RandomTokens(retain=0.1)).float()
    method = ToDRE(retain=0.1, stages=(1,), positions=_positions(model))
    short = shorten(Pruned(model, prompt, "todre", method))
    by_hand = model(**{EMBEDS: short.embeds, MASK: short.mask, LOGITS_TO_KEEP: 1}).logits
    scale = float(plain.abs().max())
    against = drawn if reference is None else reference
    found = {
        "keep_all": all(kept),
        "oracle": float((_logits(model, prompt, method) - by_hand).abs().max()) / scale,
        "float32": float((drawn - against).abs().max()) / float(against.abs().max()),
    }
    return found, drawn


def _positions(model: Any) -> Any:
    """The name of renumbered positions, or of original positions under M-RoPE."""
    return "original" if numbers_axes(model) else "compact"


def _logits(model: Any, prompt: Prompt, method: Method | None) -> Tensor:
    """(b, 1, vocabulary) logits of the last column."""
    if method is None:
        logits: Tensor = model(**prompt.inputs, **{LOGITS_TO_KEEP: 1}).logits
        return logits
    with prune(model, method):
        return _logits(model, prompt, None)


@torch.no_grad()
def _converted(whole: Any, preset: Preset, device: torch.device, dtype: torch.dtype) -> Any:
    """The model in another dtype, with the same weights.

    Buffers, such as rotary frequencies, are like those of a model that was built in this dtype.
    """
    model = build(preset, device, dtype, "sdpa")
    for mine, its in zip(model.parameters(), whole.parameters(), strict=True):
        mine.copy_(its)
    return model
