"""Depths at which untrained attention finds what a question is about.

`python -m todre.glimpse.depths` measures them.

For each count of layers run, the visual tokens are ranked by the next layer's attention from the question (mean over
heads; from all words, or from the last token). The result is the area under the ROC curve for the tokens that the
question is about. Pictures come from the `val` split. The module writes `results/glimpse-depths.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from todre.evaluate.runner import model_sha256
from todre.files import write_atomic
from todre.glimpse.gather import Gatherer
from todre.hf.model_parts import decoder_depth
from todre.scenes import make_scene
from todre.tiny import load


def area(scores: Tensor, target: Tensor) -> float:
    """Area under the ROC curve: how often a target token scores above another.

    Args:
        scores: (n,) score of each token.
        target: (n,) bool, the target tokens.

    Returns:
        Probability that a target token scores above another token; equal scores count half.
    """
    mine, others = scores[target], scores[~target].sort().values.contiguous()
    below = torch.searchsorted(others, mine) + torch.searchsorted(others, mine, right=True)
    return float(below.double().mean()) / (2 * len(others))


def attention(view: Any, row: int) -> tuple[Tensor, Tensor]:
    """(n,) attention to visual tokens: from the whole question, and its last token.

    Both are a softmax over the visual tokens, averaged over heads; the first is also averaged over the question.
    """
    query = view.query[row][:, view.text[row]]
    key = view.key[0].repeat_interleave(len(query) // view.key.shape[1], dim=0)
    maps = (torch.einsum("htd,hnd->htn", query, key) * view.scaling).softmax(dim=-1).mean(dim=0)
    return maps.mean(dim=0), maps[-1]


def areas(gatherer: Gatherer, pictures: int) -> dict[str, Any]:
    """Mean areas over all questions about something that is in the picture."""
    every, last = [], []
    for seed in range(pictures):
        scene = make_scene(seed, "val")
        view = gatherer.view(scene, scene.questions)
        for row, mask in enumerate(gatherer.masks(scene, scene.questions).bool()):
            if bool(mask.any()):
                words, end = attention(view, row)
                every.append(area(words, mask))
                last.append(area(end, mask))
    mean = {"all_words": sum(every) / len(every), "last_token": sum(last) / len(last)}
    return {"layers": gatherer.layer, "questions": len(every), **{name: round(one, 4) for name, one in mean.items()}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m todre.glimpse.depths", description=__doc__)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("results/glimpse-depths.json"))
    flags = parser.parse_args(arguments)
    console = Console(stderr=True)
    model, processor = load()
    layers = range(1, decoder_depth(model))
    gatherers = (Gatherer(model, processor, layer) for layer in layers)
    rows = [areas(one, flags.pictures) for one in track(gatherers, "layers", total=len(layers), console=console)]
    document = {"what": "areas under the ROC curve of untrained attention", "pictures": flags.pictures}
    document |= {"model_sha256": model_sha256(None), "rows": rows}
    write_atomic(flags.output, json.dumps(document, indent=1) + "\n")
    console.print(f"wrote {flags.output}", markup=False)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
