"""The first stage: fit the connector to word vectors, without the decoder.

It takes a minute or two and is not resumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from todre.scenes import Scene, make_scene
from todre.smol.training.data import SHORT_SIZES, tile_pixels
from todre.smol.training.learner import Learner
from todre.smol.training.targets import WordTargets
from todre.tiny.labels import thumbnail_labels, tile_labels

log = logging.getLogger("todre.smol.training")
_SHOWN, _EMPTY = 768, 256
"""Patches with something on them, and patches of background, in one step."""
_HELD_OUT = 10


def warm_start(learner: Learner, scenes: int, steps: int, seed: int, record: Callable[[dict[str, Any]], None]) -> None:
    """Regress the connector onto word vectors of what each patch shows.

    Args:
        learner: its connector changes.
        scenes: pictures whose patches are learned from; half small thumbnails, half large ones with crops.
        steps: steps of AdamW, with one cycle of the rate.
        seed: of the choice of patches.
        record: called with a record of the log.
    """
    features, labels = patches_of(learner, scenes)
    targets = WordTargets(learner.model.get_input_embeddings().weight, learner.pieces)
    wanted = targets(labels)
    shown = labels[:, 0] > 0
    train = torch.arange(len(labels), dtype=torch.int64, device="cpu") >= len(labels) // _HELD_OUT
    _standardise(learner.connector, features)
    optimizer = torch.optim.AdamW(learner.connector.parameters(), lr=2e-3, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    spread = wanted.var()
    pools = [(train & shown).nonzero()[:, 0], (train & ~shown).nonzero()[:, 0]]
    for step in range(steps):
        chosen = torch.cat(
            [
                pool[torch.randint(len(pool), (count,), generator=generator, device="cpu", dtype=torch.int64)]
                for pool, count in zip(pools, (_SHOWN, _EMPTY), strict=True)
            ]
        )
        loss = (learner.connector(features[chosen]) - wanted[chosen]).square().mean() / spread
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rates.step()
        if step % 100 == 99 or step == steps - 1:
            held = ~train & shown
            record(
                {
                    "step": step,
                    "loss": round(float(loss), 4),
                    **_read_out(learner, targets, features[held], labels[held]),
                }
            )


def patches_of(learner: Learner, scenes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(patches, 192) float32 tower features and (patches, 8) labels of many scenes.

    The scenes are the same for every seed.
    """
    features, labels = [], []
    for seed in range(10**9, 10**9 + scenes):
        small = seed % 2 == 0
        scene = make_scene(seed, "train", SHORT_SIZES[seed // 2 % len(SHORT_SIZES)] if small else (192, 192))
        pixels = tile_pixels([scene])[0]
        features.append(learner.features(pixels[:1] if small else pixels).flatten(0, 1))
        labels.append(torch.from_numpy(_labels(scene, small)))
    return torch.cat(features), torch.cat(labels)


def _labels(scene: Scene, small: bool) -> Any:
    return thumbnail_labels(scene) if small else tile_labels(scene).reshape(-1, 8)


@torch.no_grad()
def _standardise(connector: Any, features: torch.Tensor) -> None:
    """Start the first layer on features of mean 0 and spread 1."""
    spread, mean = torch.std_mean(features, dim=0)
    connector.linear_1.weight.div_(spread)
    connector.linear_1.bias.sub_(connector.linear_1.weight @ mean)
    connector.linear_2.weight.mul_(0.3)


@torch.no_grad()
def _read_out(learner: Learner, targets: WordTargets, features: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Group → share of held-out patches whose nearest word is right."""
    vectors = learner.connector(features)
    shares = {}
    for column, group in enumerate(targets.groups):
        classes = labels[:, column]
        asked = classes >= 0
        right = targets.read(vectors[asked], group) == classes[asked]
        shares[group] = round(float(right.float().mean()), 4)
    return shares
