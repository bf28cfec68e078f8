"""The paper's two redundancies, and whether they are independent.

Appendix B of the paper assumes that they are independent.

Eq. 8, within vision: D = 1/N² Σ_{i≠j} κ(v_i, v_j). Eq. 9, across modalities: R = 1/N Σ_i ρ(v_i, T). The paper leaves
κ and ρ open and applies its own projections W_V and W_T, which no model has; here v and t are the embeddings that enter
the decoder, κ is the cosine where it is positive, and ρ is measured in two ways: 1 - the largest positive cosine to a
text token (`embedding`), and 1 - the mean attention that text pays to the token in a layer (`attention`, by layer).

D and R are means over tokens: D is the mean of d_i = 1/N Σ_{j≠i} κ(v_i, v_j), R the mean of ρ_i. So independence
can be measured over questions (D against R) and over the tokens of each question (d_i against ρ_i).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from todre.analysis.layer_attention import attending_layers, watching
from todre.analysis.prompts import prompts_of
from todre.analysis.questions import PictureQuestion
from todre.analysis.results import Job, Measured, Record, measure_all
from todre.analysis.summary import Table, pearson, ranks
from todre.errors import UnsupportedModelError
from todre.geometry import visual_token_boxes
from todre.hf.decoder import decoder_of
from todre.hf.greedy_decoding import greedy_settings
from todre.hf.keywords import EMBEDS
from todre.loading.model import Loaded
from todre.tensors.attention import AttentionInputs, attention_scores
from todre.tensors.columns import PAD, TEXT, VISUAL

_ROWS_AT_ONCE = 512


def intra_modal(visual: Tensor) -> Tensor:
    """(n,) float64 redundancy of each visual token (n, d) with the others.

    d_i = 1/N Σ_{j≠i} max(0, cos(v_i, v_j)); the mean is D of eq. 8.

    Rows are taken in blocks, so no n × n matrix is made.
    """
    unit = torch.nn.functional.normalize(visual.double(), dim=-1)
    total = torch.empty(len(unit), dtype=torch.float64, device=unit.device)
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        cosine = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        own = cosine.diagonal(offset=start).clamp(min=0)
        total[start : start + _ROWS_AT_ONCE] = cosine.clamp(min=0).sum(dim=1) - own
    return total / len(unit)


def cross_modal(visual: Tensor, text: Tensor) -> Tensor:
    """(n,) float64 redundancy of visual tokens (n, d) with text tokens (t, d).

    ρ_i = 1 - max_j max(0, cos(v_i, t_j)), the summand of eq. 9.
    """
    v, t = (torch.nn.functional.normalize(tokens.double(), dim=-1) for tokens in (visual, text))
    return 1.0 - (v @ t.T).clamp(min=0).amax(dim=1)


def overlap(visual: Tensor, text: Tensor) -> tuple[float, float]:
    """Share of the visual tokens' squared length in the span of the text tokens.

    Appendix B assumes 0. The second number returned is the share expected of a direction drawn at random: the rank of
    the text tokens over d.
    """
    v, t = visual.double(), text.double()
    basis, size, _ = torch.linalg.svd(t.T, full_matrices=False)
    rank = int((size > size.max() * max(t.shape) * torch.finfo(torch.float32).eps).sum())
    inside = (v @ basis[:, :rank]).square().sum() / v.square().sum()
    return float(inside), rank / t.shape[1]


class TextToTokens:
    """Mean attention that each key gets from its row's text, by layer of a prefill."""

    def __init__(self, kinds: Tensor) -> None:
        self.kinds = kinds
        self.layers: dict[int, Tensor] = {}

    def __call__(self, layer: int, inputs: AttentionInputs) -> None:
        """Read one layer (1-based)."""
        if layer not in self.layers:
            rows = self.kinds[:, -inputs.query.shape[2] :] == TEXT
            scores = attention_scores(inputs, rows, self.kinds != PAD)
            self.layers[layer] = scores / rows.sum(dim=1, keepdim=True).clamp(min=1)


@contextmanager
def entering(model: Any, embeddings: list[Tensor]) -> Iterator[None]:
    """Append the decoder's input embeddings (b, q, d) of each forward in the block."""

    def look(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        embeddings.append(kwargs[EMBEDS])

    handle = decoder_of(model).module.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def redundancies_of(loaded: Loaded, questions: Sequence[PictureQuestion]) -> list[Record]:
    """Redundancies and token correlations of each question, ready for JSON.

    Newline and class tokens, which show nothing of the picture, are left out where their places are known.
    """
    prompts = prompts_of(loaded, questions)
    embeddings: list[Tensor] = []
    log = TextToTokens(prompts.kinds)
    with entering(loaded.model, embeddings), watching(loaded.model, log):
        loaded.model.generate(**prompts.inputs, **greedy_settings(1))
    records = []
    for row, one in enumerate(questions):
        places = (prompts.kinds[row] == VISUAL).nonzero().flatten()
        places = places[_looking(loaded, one, len(places))]
        text = embeddings[0][row, prompts.kinds[row] == TEXT]
        visual = embeddings[0][row, places]
        own = intra_modal(visual)
        across = {"embedding": cross_modal(visual, text)}
        across |= {f"attention {layer}": 1.0 - mass[row, places].double() for layer, mass in log.layers.items()}
        inside, chance = overlap(visual, text)
        records.append(
            {
                "visual_tokens": len(places),
                "text_tokens": len(text),
                "D": round(float(own.mean()), 9),
                "R": {name: round(float(each.mean()), 9) for name, each in across.items()},
                "tokens": {name: _correlations(own, each) for name, each in across.items()},
                "overlap": round(inside, 6),
                "overlap_of_chance": round(chance, 6),
            }
        )
    return records


def _looking(loaded: Loaded, question: PictureQuestion, n: int) -> list[int]:
    """0-based indices of the visual tokens that were made from pixels."""
    try:
        boxes = visual_token_boxes(loaded.processor, loaded.model.config, [question.open().size])
    except UnsupportedModelError:
        return list(range(n))
    if len(boxes) != n:
        return list(range(n))
    return [place for place, box in enumerate(boxes) if box.kind not in ("newline", "class")]


def _correlations(first: Tensor, second: Tensor) -> dict[str, float | None]:
    x, y = (values.cpu().numpy() for values in (first, second))
    return {"pearson": pearson(x, y), "spearman": pearson(ranks(x), ranks(y))}


def redundancy(job: Job) -> dict[str, Any]:
    """The document of a run; measures all questions of `job`."""
    attending_layers(job.loaded.model)
    measured = measure_all(job, lambda questions: redundancies_of(job.loaded, questions))
    return document(measured, job.command)


def document(measured: Measured, command: str) -> dict[str, Any]:
    """Document of correlations over questions and over each question's tokens."""
    records = measured.records
    table = Table.of(records)
    intra = np.array([record["D"] for record in records])
    kinds = {}
    for name in records[0]["R"]:
        cross = np.array([record["R"][name] for record in records])
        tokens = {
            kind: table.mean([_float(record["tokens"][name][kind]) for record in records])
            for kind in ("pearson", "spearman")
        }
        kinds[name] = {
            "R": table.mean(cross),
            "covariance": float(f"{np.cov(intra, cross, bias=True)[0, 1]:.6g}"),
            "over_questions": table.correlation(intra, cross),
            "over_tokens": tokens,
        }
    return {
        "what": "the redundancies of eq. 8 and 9, and their correlation",
        "command": command,
        "conditions": measured.conditions,
        "D": table.mean(intra),
        "cross_modal": kinds,
        "overlap": table.mean([record["overlap"] for record in records]),
        "overlap_of_chance": table.mean([record["overlap_of_chance"] for record in records]),
        "records": records,
    }


def _float(value: float | None) -> float:
    return float("nan") if value is None else value
