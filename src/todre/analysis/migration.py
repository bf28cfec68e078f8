"""Information migration: attention by layer and direction, in prefill and decode.

See ToDRE, figure 2 (prefill) and figure 5 (decode). Nothing is pruned. Attention masses are computed from the model's
own queries and keys, in blocks of rows, so no map of queries by keys exists and any attention backend will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from todre.analysis.layer_attention import attending_layers, watching
from todre.analysis.prompts import prompts_of
from todre.analysis.questions import PictureQuestion
from todre.analysis.results import Job, Measured, Record, measure_all
from todre.analysis.summary import Table
from todre.hf.greedy_decoding import greedy_settings
from todre.loading.model import Loaded
from todre.tensors.attention import AttentionInputs, attention_mass
from todre.tensors.columns import DRAFT, PAD, SYSTEM, TEXT, VISUAL

GROUPS = {"system": SYSTEM, "visual": VISUAL, "text": TEXT}
GENERATED = DRAFT
"""Class of generated tokens: not S, V or T, but the class of drafts, unused here."""


class AttentionLog:
    """Attention mass between classes of tokens, for a batch and one `generate`.

    Attributes:
        prefill: layer to (b, 3, 3) float32: mean mass that queries of a class put on keys of a class, in the order of
            `GROUPS`; NaN where a row has no query of the class.
        uniform: (b, 3, 3), the masses if every query attended equally to all keys that it may see.
        decode: layer to a list with a (b, 4) tensor for each generated token that was read: the token's mass on S, V,
            T, and the generated tokens up to and including itself.
    """

    def __init__(self, kinds: Tensor) -> None:
        self.kinds = kinds
        self.prefill: dict[int, Tensor] = {}
        self.uniform: Tensor | None = None
        self.decode: dict[int, list[Tensor]] = {}

    def __call__(self, layer: int, inputs: AttentionInputs) -> None:
        """Read one forward of one layer (1-based)."""
        if layer not in self.prefill:
            self.prefill[layer] = self._between(inputs)
            if self.uniform is None:
                self.uniform = self._between(replace(inputs, query=torch.zeros_like(inputs.query)))
            return
        steps = self.decode.setdefault(layer, [])
        kinds = self._kinds_of_keys(len(steps) + 1, inputs.key.shape[2])
        rows = torch.ones(len(kinds), inputs.query.shape[2], dtype=torch.bool, device=kinds.device)
        groups = [kinds == kind for kind in (*GROUPS.values(), GENERATED)]
        steps.append(torch.stack(attention_mass(inputs, rows, groups, kinds != PAD), dim=-1)[:, -1])

    def _between(self, inputs: AttentionInputs) -> Tensor:
        kinds = self._kinds_of_keys(0, inputs.key.shape[2])
        asking = self.kinds[:, -inputs.query.shape[2] :]
        rows = asking != PAD
        masses = torch.stack(
            attention_mass(inputs, rows, [kinds == kind for kind in GROUPS.values()], kinds != PAD), dim=-1
        )
        chosen = torch.stack([asking == kind for kind in GROUPS.values()], dim=1).to(masses.dtype)
        return torch.einsum("bgq,bqk->bgk", chosen, masses) / chosen.sum(dim=-1, keepdim=True)

    def _kinds_of_keys(self, generated: int, slots: int) -> Tensor:
        """(b, slots) class of each key of the cache.

        Windowed caches hold the last columns; preallocated ones have room after them.
        """
        new = self.kinds.new_full((len(self.kinds), generated), GENERATED)
        kinds = torch.cat([self.kinds, new], dim=1)
        room = slots - kinds.shape[1]
        return torch.nn.functional.pad(kinds, (0, room), value=PAD) if room > 0 else kinds[:, -slots:]


@torch.inference_mode()
def attention_of(loaded: Loaded, questions: Sequence[PictureQuestion], max_new_tokens: int) -> list[Record]:
    """Attention masses of each question, ready for JSON; None where no query exists."""
    prompts = prompts_of(loaded, questions)
    log = AttentionLog(prompts.kinds)
    with watching(loaded.model, log):
        tokens = loaded.model.generate(**prompts.inputs, **greedy_settings(max_new_tokens))
    new = tokens[:, prompts.kinds.shape[1] :]
    texts = loaded.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    assert log.uniform is not None
    records = []
    for row, read in enumerate(tokens_read(loaded.model, new)):
        decode = {layer: torch.stack([step[row] for step in steps]) for layer, steps in log.decode.items()}
        counts = {name: int((prompts.kinds[row] == kind).sum()) for name, kind in GROUPS.items()}
        records.append(
            {
                "said": texts[row].strip(),
                "tokens": {**counts, "generated_and_read": read},
                "uniform": _listed(log.uniform[row]),
                "prefill": {str(layer): _listed(mass[row]) for layer, mass in log.prefill.items()},
                "decode": {str(layer): _listed(mass[:read].mean(dim=0)) for layer, mass in decode.items() if read},
            }
        )
    return records


def tokens_read(model: Any, new: Tensor) -> list[int]:
    """Number of generated tokens of each row that were read as queries.

    All tokens up to the row's end are read, except the last.
    """
    ends = model.generation_config.eos_token_id
    closing = new.new_tensor(ends if isinstance(ends, list) else [-1 if ends is None else ends])
    ended = torch.isin(new, closing)
    length = torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, new.shape[1])
    return [int(count) - 1 for count in length]


def _listed(values: Tensor) -> Any:
    """Nested lists of rounded numbers, with None for NaN."""
    if values.ndim:
        return [_listed(value) for value in values]
    number = float(values)
    return None if number != number else round(number, 6)


def migration(job: Job, max_new_tokens: int) -> dict[str, Any]:
    """The document of a run; measures all questions of `job`.

    Args:
        job: the run; its parameters hold `max_new_tokens`.
        max_new_tokens: longest answer; decode is averaged over an answer's tokens.
    """
    layers = attending_layers(job.loaded.model)
    measured = measure_all(job, lambda questions: attention_of(job.loaded, questions, max_new_tokens))
    return document(measured, layers, job.command)


def document(measured: Measured, layers: Sequence[int], command: str) -> dict[str, Any]:
    """Document of means over questions, with intervals, by layer and direction."""
    table = Table.of(measured.records)
    rows = []
    for layer in layers:
        prefill = np.array([_floats(record["prefill"][str(layer)]) for record in measured.records])
        none = [None] * (len(GROUPS) + 1)
        decode = np.array([_floats(record["decode"].get(str(layer), none)) for record in measured.records])
        directions = {
            f"{asking}_to_{target}": table.mean(prefill[:, i, j])
            for i, asking in enumerate(GROUPS)
            for j, target in enumerate(GROUPS)
        }
        targets = {name: table.mean(decode[:, j]) for j, name in enumerate((*GROUPS, "generated"))}
        by_task = {
            task: table.mean(np.where(mine, prefill[:, 2, 1], np.nan))["mean"] for task, mine in table.tasks.items()
        }
        rows.append({"layer": layer, "prefill": directions, "decode": targets, "text_to_visual_by_task": by_task})
    uniform = np.array([_floats(record["uniform"]) for record in measured.records])
    return {
        "what": "attention mass by layer and direction, in prefill and in decode",
        "command": command,
        "conditions": measured.conditions,
        "tokens": {
            name: round(float(np.mean([record["tokens"][name] for record in measured.records])), 3)
            for name in measured.records[0]["tokens"]
        },
        "uniform": {
            f"{asking}_to_{target}": table.mean(uniform[:, i, j])["mean"]
            for i, asking in enumerate(GROUPS)
            for j, target in enumerate(GROUPS)
        },
        "layers": rows,
        "records": measured.records,
    }


def _floats(values: Any) -> Any:
    """Nested lists with NaN for None, the inverse of `_listed`."""
    return [_floats(value) for value in values] if isinstance(values, list) else np.nan if values is None else values
