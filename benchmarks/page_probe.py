"""What the shipped vision tower sees of pages of text, read out by a small MLP.

`python benchmarks/page_probe.py` encodes pages of 192 × 192 pixels as the models see them (thumbnail and four crops,
the features of the tower's last layer but one), fits an MLP on training pages that says from one patch which word or
digit it shows, and another that says on which line of its tile the patch lies. It writes `results/page-probe.json`:
shares of patches that are told right on validation pages, and of plates whose patches say it right together.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from todre import tiny
from todre.bench.conditions import machine
from todre.files import write_atomic
from todre.hf.keywords import PIXELS
from todre.pages import NOVELTIES, make_page, tile_labels
from todre.pages.labels import GROUPS
from todre.scenes.vocabulary import WORDS

TILES = {"crops": slice(1, 5), "thumbnail": slice(0, 1)}
"""Which tiles a probe is fitted and tested on."""
LINES = {"crops": 3, "thumbnail": 6}
"""Number of lines of a page in one tile."""
PAGES_AT_ONCE = 8
RESAMPLES = 2000


@dataclass(frozen=True)
class Patches:
    """Patches of pages that show a word or a digit.

    Attributes:
        features: (n, 192) float32 of the tower.
        classes: (n,) int64 word from 0, or 10 + digit.
        line: (n,) int64 line of the page from 0.
        plate: (n,) int64 number of the page times 100, plus that of the plate within it.
        novelty: (n,) int64 index in `NOVELTIES`.
    """

    features: torch.Tensor
    classes: torch.Tensor
    line: torch.Tensor
    plate: NDArray[np.int64]
    novelty: NDArray[np.int64]


@torch.inference_mode()
def encoded(tower: Any, processor: Any, split: str, count: int) -> dict[str, Patches]:
    """The patches of the first pages of a split, by tile."""
    names = list(GROUPS)
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TILES}
    for start in range(0, count, PAGES_AT_ONCE):
        pages = [make_page(seed, split) for seed in range(start, min(count, start + PAGES_AT_ONCE))]
        pixels = torch.cat([processor(page.image, return_tensors="pt")[PIXELS][0] for page in pages])
        seen = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        features = seen.unflatten(0, (len(pages), -1))
        for place, page in enumerate(pages):
            labels = tile_labels(page)
            word, digit, line, column = (labels[..., names.index(name)] for name in ("word", "digit", "line", "column"))
            plate = 100 * (start + place) + 10 * line + column
            novelty = np.full(word.shape, NOVELTIES.index(page.novelty))
            classes = np.where(word >= 0, word, len(WORDS) + digit)
            for name, tiles in TILES.items():
                shown = line[tiles] >= 0
                found[name].append(
                    (
                        features[place, tiles][torch.from_numpy(shown)].clone(),
                        *(each[tiles][shown] for each in (classes, line, plate, novelty)),
                    )
                )
    return {name: _joined(rows) for name, rows in found.items()}


def _joined(rows: Sequence[tuple[Any, ...]]) -> Patches:
    features, classes, line, plate, novelty = zip(*rows, strict=True)
    return Patches(
        features=torch.cat(features),
        classes=torch.from_numpy(np.concatenate(classes)),
        line=torch.from_numpy(np.concatenate(line)),
        plate=np.concatenate(plate),
        novelty=np.concatenate(novelty),
    )


def fitted(features: torch.Tensor, classes: torch.Tensor, epochs: int, seed: int) -> nn.Module:
    """An MLP of one hidden layer of 256, trained by AdamW with a one-cycle rate up to 0.003."""
    torch.manual_seed(seed)
    layers = (
        nn.Linear(features.shape[1], 256, dtype=torch.float32, device="cpu"),
        nn.GELU(),
        nn.Linear(256, int(classes.max()) + 1, dtype=torch.float32, device="cpu"),
    )
    model = nn.Sequential(nn.LayerNorm(features.shape[1], dtype=torch.float32, device="cpu"), *layers)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    steps = -(-len(features) // 512)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(features), dtype=torch.int64, device="cpu").split(512):
            loss = nn.functional.cross_entropy(model(features[rows]), classes[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
    return model


def share(right: NDArray[np.bool_], page: NDArray[np.int64]) -> dict[str, Any]:
    """Share that is right, with a 95 % interval from resampled pages."""
    if not len(right):
        return {"value": None, "low": None, "high": None, "n": 0}
    names, rows = np.unique(page, return_inverse=True)
    sums = np.stack([np.bincount(rows, right, len(names)), np.bincount(rows, minlength=len(names))])
    drawn = sums[:, np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))].sum(axis=-1)
    low, high = np.percentile(drawn[0] / drawn[1], (2.5, 97.5))
    return {"value": round(right.mean(), 4), "low": round(low, 4), "high": round(high, 4), "n": len(right)}


def shares(
    right: NDArray[np.bool_], plate: NDArray[np.int64], classes: NDArray[np.int64], novelty: NDArray[np.int64]
) -> dict[str, Any]:
    """Shares of words and of digits that are right, over all pages and by what is new about them."""
    found = {}
    for name, mine in {"all": novelty >= 0, **{n: novelty == i for i, n in enumerate(NOVELTIES)}}.items():
        words = mine & (classes < len(WORDS))
        found[name] = {
            "words": share(right[words], plate[words] // 100),
            "digits": share(right[mine & ~words], plate[mine & ~words] // 100),
        }
    return found


@torch.inference_mode()
def tested(model: nn.Module, patches: Patches) -> dict[str, Any]:
    """Shares of patches told right, and of plates by the summed log-probabilities of their patches."""
    scores = model(patches.features).log_softmax(dim=-1).numpy()
    classes = patches.classes.numpy()
    plates, first, rows = np.unique(patches.plate, return_index=True, return_inverse=True)
    summed = np.zeros((len(plates), scores.shape[1]))
    np.add.at(summed, rows, scores)
    return {
        "patches": shares(scores.argmax(axis=1) == classes, patches.plate, classes, patches.novelty),
        "plates": shares(summed.argmax(axis=1) == classes[first], plates, classes[first], patches.novelty[first]),
    }


def measure(pages: int, validation: int, epochs: int, seed: int) -> dict[str, Any]:
    """The document of results.

    Args:
        pages: number of training pages.
        validation: number of validation pages.
        epochs: passes over the training patches.
        seed: of the probes.
    """
    model, processor = tiny.load()
    tower, images = model.model.vision_tower, processor.image_processor
    train, val = encoded(tower, images, "train", pages), encoded(tower, images, "val", validation)
    found: dict[str, Any] = {}
    for name, lines in LINES.items():
        text = fitted(train[name].features, train[name].classes, epochs, seed)
        line = fitted(train[name].features, train[name].line % lines, epochs, seed)
        with torch.inference_mode():
            right = (line(val[name].features).argmax(dim=-1) == val[name].line % lines).numpy()
        found[name] = {"text": tested(text, val[name]), "line": share(right, val[name].plate // 100)}
        found[name]["training_patches"] = len(train[name].features)
    settings = {"training_pages": pages, "validation_pages": validation, "epochs": epochs, "seed": seed}
    return {"settings": settings, "model": tiny.SHIPPED, "machine": machine(torch.device("cpu")), "tiles": found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=800, help="number of training pages")
    parser.add_argument("--validation", type=int, default=200, help="number of validation pages")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/page-probe.json"))
    options = parser.parse_args(arguments)
    document = measure(options.pages, options.validation, options.epochs, options.seed)
    write_atomic(options.output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
