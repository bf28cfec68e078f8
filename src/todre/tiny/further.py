"""The fifth stage trains the shipped model on several pictures and on clips.

Single pictures stay in the mix, so that the model does not forget them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from todre.hf.keywords import PIXELS, SIZES
from todre.hf.model_parts import media_features
from todre.scenes import Question, ask
from todre.scenes.clip import EVENTS, clip_objects, make_clip
from todre.scenes.motion import ask_motion
from todre.scenes.several import ask_set, make_set, set_objects
from todre.tiny.data import Encoder, TextBatch, collate, picture_tensors, training_questions
from todre.tiny.heads import Symbols, TowerHeads
from todre.tiny.model import GRID, build_image_processor
from todre.tiny.order import Start, clip_start, hidden_and_order, set_start
from todre.tiny.packed_questions import use_packed_attention
from todre.tiny.sketches import FittedSymbols, clip_sketch, picture_sketch
from todre.tiny.stages import Metrics, Parts, Slice, answer_picture, answers_loss
from todre.tiny.video_model import build_video_model

SIDE = 96
"""Side in pixels of the pictures in a set and of the frames in a clip.

A picture has 300 visual tokens, a frame 36.
"""
FRAMES = 6
"""Number of frames in a clip."""
SET_MIX: dict[str, int] = {"which": 2, "both": 6, "colour": 6, "shape": 6, "digit": 3}
CLIP_MIX: dict[str, int] = {"moves": 1, "mover": 1, "moving": 3, "appears": 1, "changes": 1}
STILL_MIX: dict[str, int] = {"presence": 1, "colour": 1}
"""Task → number of questions about the things in a clip with motion.

All things of such a clip are in every frame.
"""


_ORDER_WEIGHT = 1.0
_ORDER_LAYERS = (1, 2, 3, 4, 5)
_NOISE = 0.7
"""Factor on the residuals that are added to symbolic tokens.

A factor of 1 would spread symbolic tokens as widely as real tokens.
"""


def build_further(seed: int, device: torch.device) -> Parts:
    """The parts of the fifth stage: the shipped weights in the class that takes clips.

    The symbols are fitted to the model's own visual tokens.
    """
    model, tokenizer = build_video_model()
    fitted = FittedSymbols(model)
    use_packed_attention(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = TowerHeads()
    parts = FurtherParts(
        model.to(device),
        heads.to(device),
        Symbols({}).to(device),
        tokenizer,
        Encoder(tokenizer),
        device,
        fitted.to(device),
    )
    return parts


@dataclass
class FurtherParts(Parts):
    """The parts of the fifth stage.

    Args:
        fitted: average visual tokens by label.
    """

    fitted: FittedSymbols

    def modules(self) -> dict[str, nn.Module]:
        """The modules that a checkpoint holds: the model alone.

        Everything else follows from the shipped weights.
        """
        return {"model": self.model}


@dataclass(frozen=True)
class FurtherStage:
    """Trains decoder and projector on sets, clips and single pictures.

    The vision tower stays as it is. Sets and clips come in every step, single pictures in some.

    Args:
        sketches_until: share of the stage, from its start, in which sets and clips are coarse symbolic pictures.
        sets: sets in a step, per picture of the batch.
        clips: clips in a step, per picture of the batch.
        single_every: single pictures come in every `single_every`-th step.
        single_weight: weight of the loss on single pictures; the losses on sets and on clips have weight 1 each.
    """

    name: str = "further"
    needs: tuple[str, ...] = ()
    sketches_until: float = 0.35
    sets: int = 2
    clips: int = 4
    single_every: int = 2
    single_weight: float = 2.0
    processor: Any = field(default_factory=build_image_processor, repr=False)

    def trained(self, parts: Parts) -> dict[str, nn.Module]:
        """Modules that are trained: the decoder with its embeddings, and the projector."""
        return {
            "language_model": parts.model.model.language_model,
            "projector": parts.model.model.multi_modal_projector,
        }

    def loss(self, parts: Parts, which: Slice) -> tuple[torch.Tensor, Metrics]:
        """Weighted mean of the losses on sets, clips and, in some steps, single pictures."""
        if not isinstance(parts, FurtherParts):
            raise TypeError("this stage needs parts of build_further")
        sketched = which.progress < self.sketches_until
        sets = self._sets(parts, which, which.batch * self.sets, sketched)
        clips = self._clips(parts, which, which.batch * self.clips, sketched)
        kinds = {"sets": sets, "clips": [clips]}
        if which.step % self.single_every == 0:
            kinds["single"] = [self._single(parts, which)]
        metrics: dict[str, float] = {}
        losses, weights = [], []
        for kind, groups in kinds.items():
            losses.append(torch.stack([loss for loss, _ in groups]).mean())
            weights.append(self.single_weight if kind == "single" else 1.0)
            often = self.single_every if kind == "single" else 1  # the log takes means over all steps
            metrics[f"loss/{kind}"] = often * float(losses[-1].detach())
            for key, value in (pair for _, counts in groups for pair in counts.items()):
                metrics[key] = metrics.get(key, 0.0) + value
        weight = torch.tensor(weights, device=parts.device, dtype=torch.float32)
        total = (torch.stack(losses) * weight).sum() / sum(weights)
        return total, metrics

    def _single(self, parts: FurtherParts, which: Slice) -> tuple[torch.Tensor, Metrics]:
        scenes = which.scenes()
        pixels, _, _ = picture_tensors(scenes, self.processor)
        sizes = torch.tensor([[scene.size[1], scene.size[0]] for scene in scenes], dtype=torch.int64, device="cpu")
        features = parts.model.model.get_image_features(torch.stack(pixels).to(parts.device), sizes, return_dict=True)
        visual = torch.stack(list(media_features(features)))
        packs = [parts.encoder.pack(training_questions(scene, which.step)) for scene in scenes]
        return answer_picture(parts, visual, collate(packs).to(parts.device))

    def _sets(
        self, parts: FurtherParts, which: Slice, number: int, sketched: bool
    ) -> list[tuple[torch.Tensor, Metrics]]:
        """Loss and metrics on sets, with one forward for each number of pictures."""
        rng = which.rng()
        by_size: dict[int, list[tuple[Start, list[Question]]]] = {}
        side = 4 + int(rng.integers(5))
        for seed in _seeds(which, number):
            if sketched:
                objects = set_objects(seed, which.split, SIDE)
                drawn = np.stack([picture_sketch(things, side, SIDE) for things in objects])
                visual = self._symbols(parts, drawn, rng)
            else:
                rendered = make_set(seed, which.split, SIDE)
                objects = rendered.objects
                pixels = self.processor(list(rendered.images), return_tensors="pt")
                encoded = parts.model.model.get_image_features(
                    pixels[PIXELS].to(parts.device), pixels[SIZES], return_dict=True
                )
                visual = torch.stack(list(media_features(encoded)))
            tasks = [task for task, times in SET_MIX.items() for _ in range(times)]
            questions = ask_set(np.random.default_rng([seed, which.step, 78]), objects, tasks)
            by_size.setdefault(len(objects), []).append((set_start(parts, visual), _distinct(questions, "set")))
        return [_behind(parts, group, _layer(which), "sets") for group in by_size.values()]

    def _clips(self, parts: FurtherParts, which: Slice, number: int, sketched: bool) -> tuple[torch.Tensor, Metrics]:
        """Loss and metrics on clips, which all have `FRAMES` frames."""
        rng = which.rng()
        frames, side = FRAMES, GRID // 2
        group = []
        for seed in _seeds(which, number):
            if sketched:
                event, objects = clip_objects(seed, frames, SIDE, which.split)
                visual = self._symbols(parts, clip_sketch(objects, side, SIDE)[None], rng)
            else:
                clip = make_clip(seed, frames, SIDE, which.split)
                event, objects = clip.event, clip.objects
                pixels = self.frame_pixels(list(clip.frames)).to(parts.device)
                visual = media_features(parts.model.model.get_video_features(pixels, return_dict=True))
            questions = clip_training_questions(np.random.default_rng([seed, which.step, 79]), objects, event)
            group.append((clip_start(parts, visual), questions))
        return _behind(parts, group, _layer(which), "clips")

    def _symbols(self, parts: FurtherParts, features: Any, rng: np.random.Generator) -> torch.Tensor:
        labels = torch.from_numpy(features).to(parts.device)
        visual: torch.Tensor = parts.fitted(labels, parts.model.model.image_newline, rng, _NOISE)
        return visual

    def frame_pixels(self, frames: list[Any]) -> torch.Tensor:
        """(1, frames, 3, 96, 96) float32 pixels of frames of 96 × 96 pixels.

        The pixels are normalised as by the video processor, without resizing.
        """
        arrays = [np.asarray(frame, dtype=np.float32) for frame in frames]
        scale = self.processor.rescale_factor
        mean, std = (
            torch.tensor(getattr(self.processor, f"image_{name}"), dtype=torch.float32, device="cpu")[:, None, None]
            for name in ("mean", "std")
        )
        values: torch.Tensor = (torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) * scale - mean) / std
        return values[None]


def clip_training_questions(rng: np.random.Generator, objects: Any, event: str) -> list[Question]:
    """Questions about a clip's event, for training.

    If something moves, all things are in every frame, and questions about the things themselves are added.

    Args:
        rng: decides what is asked about where there is a choice.
        objects: for each frame, everything drawn in it, the actor last.
        event: what the actor does, one of `EVENTS`.
    """
    tasks = [task for task, times in CLIP_MIX.items() for _ in range(times)]
    questions = _distinct(ask_motion(rng, objects, event, tasks), "clip")
    if event == EVENTS[0]:
        still = [task for task, times in STILL_MIX.items() for _ in range(times)]
        questions += _distinct(ask(rng, objects[0], still, SIDE, SIDE), "still")
    return questions


def _behind(
    parts: Parts, group: list[tuple[Start, list[Question]]], layer: int, world: str
) -> tuple[torch.Tensor, Metrics]:
    """Loss on the answers plus the loss on the visual tokens' places, and metrics."""
    starts, questions = zip(*[(start, those) for start, those in group if those], strict=True)
    text: TextBatch = collate([parts.encoder.pack(those) for those in questions]).to(parts.device)
    hidden, order = hidden_and_order(parts, starts, text, layer)
    loss, metrics = answers_loss(parts, hidden, text)
    return loss + _ORDER_WEIGHT * order, {**metrics, f"order/{world}": float(order.detach())}


def _layer(which: Slice) -> int:
    """The decoder layer (from 0) after which this step reads the tokens' places.

    Steps take the layers in turn, so that all layers are trained alike.
    """
    return _ORDER_LAYERS[which.step % len(_ORDER_LAYERS)]


def _distinct(questions: list[Question], world: str) -> list[Question]:
    """Questions with distinct texts, their tasks prefixed by `world` for the log."""
    return list({q.text: replace(q, task=f"{world}-{q.task}") for q in questions}.values())


def _seeds(which: Slice, number: int) -> range:
    """Seeds that no other step or process sees."""
    start = which.first_seed + (which.step * which.world + which.rank) * 10**3
    return range(start, start + number)
