"""Training examples as arrays: pictures with their labels, and packed questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from todre.hf.keywords import IDS, PIXELS
from todre.scenes import Question, Scene, ask, make_scene
from todre.tiny.labels import tile_labels, tile_presence
from todre.tiny.tokenizer import SYSTEM_PROMPT

SIZES: tuple[tuple[int, int], ...] = ((192, 192), (192, 96), (96, 192), (192, 144), (144, 192))
"""Sizes (width, height) in pixels of the training pictures."""
TASK_MIX: dict[str, int] = {
    "presence": 3,
    "colour": 2,
    "shape": 2,
    "size": 2,
    "count": 5,
    "relation": 5,
    "quadrant": 3,
    "digit": 1,
    "word": 1,
    "caption": 1,
}
"""How many questions of each task are asked about one training picture."""
_TOKEN_WEIGHT = {"caption": 0.25, "digit": 2.0, "word": 2.0, "clip-moves": 3.0, "clip-moving": 2.0}


@dataclass(frozen=True)
class Packed:
    """Several questions about one picture behind a shared prefix.

    Args:
        tokens: (n,) ids of all questions with their answers, one after another.
        segments: (n,) number of the question that a token belongs to.
        offsets: (n,) place of the token within its question.
        targets: (n,) id that the token must predict; −100 where it predicts nothing.
        weights: (n,) weight of each target.
        tasks: the task of each question.
    """

    tokens: NDArray[np.int64]
    segments: NDArray[np.int64]
    offsets: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]
    tasks: tuple[str, ...]


class Encoder:
    """Encodes pieces of prompts with the model's tokenizer, each distinct piece once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self.eos = int(tokenizer.eos_token_id)
        self.prefix = [int(tokenizer.bos_token_id), *self.encode(f"{SYSTEM_PROMPT} USER:")]

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without the start token."""
        if text not in self._known:
            self._known[text] = list(self._tokenizer(text, add_special_tokens=False)[IDS])
        return self._known[text]

    def pack(self, questions: list[Question]) -> Packed:
        """Pack questions behind each other, one segment each.

        The loss falls on the answers and their end tokens.
        """
        tokens: list[int] = []
        segments: list[int] = []
        offsets: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        for index, question in enumerate(questions):
            question_ids = [*self.encode(question.text), *self.encode("ASSISTANT:")]
            answer = [*self.encode(question.answer), self.eos]
            piece = question_ids + answer[:-1]
            tokens += piece
            segments += [index] * len(piece)
            offsets += range(len(piece))
            targets += [-100] * (len(question_ids) - 1) + answer
            weight = _TOKEN_WEIGHT.get(question.task, 1.0)
            weights += [weight] * (len(piece) - 1) + [0.25 * weight]
        return Packed(
            np.array(tokens, dtype=np.int64),
            np.array(segments, dtype=np.int64),
            np.array(offsets, dtype=np.int64),
            np.array(targets, dtype=np.int64),
            np.array(weights, dtype=np.float32),
            tuple(q.task for q in questions),
        )


def training_size(step: int) -> tuple[int, int]:
    """The picture size (width, height) of a step, in pixels.

    Two steps of three use the full size; the third takes the next size in `SIZES`.
    """
    return SIZES[0] if step % 3 else SIZES[(step // 3) % len(SIZES)]


def step_scenes(
    first_seed: int,
    step: int,
    batch: int,
    rank: int = 0,
    world: int = 1,
    split: str = "train",
    size: tuple[int, int] | None = None,
) -> list[Scene]:
    """The pictures that one process trains on in one step.

    No two steps or processes share a seed.

    Args:
        first_seed: seed from which the run counts.
        step: number of the step, from 0.
        batch: pictures for each process.
        rank, world: number of this process (from 0), and the number of processes.
        split: "train", "val" or "test".
        size: (width, height) in pixels; None takes the step's own size.
    """
    start = first_seed + (step * world + rank) * batch
    return [make_scene(seed, split, size or training_size(step)) for seed in range(start, start + batch)]


def training_questions(scene: Scene, step: int, mix: dict[str, int] | None = None) -> list[Question]:
    """New questions about a scene for each step, with the tasks in a fixed order.

    Args:
        scene: the picture to ask about.
        step: seeds the choice of questions, together with the scene's own seed.
        mix: task → number of questions; None takes `TASK_MIX`. Questions with equal text are asked once.
    """
    rng = np.random.default_rng([scene.seed, step, 77])
    tasks = [task for task, times in (mix or TASK_MIX).items() for _ in range(times)]
    questions = ask(rng, scene.objects, tasks, *scene.size)
    return list({question.text: question for question in questions}.values())


def picture_tensors(
    scenes: list[Scene], processor: Any
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Pixels, labels and presence of each scene, for the tower's losses.

    Returns:
        For each scene, pixels (tiles, 3, 96, 96) float32 from the image processor, labels (tiles, 144, 8) int64 and
        presence (tiles, classes) float32.
    """
    pixels = [processor(scene.image, return_tensors="pt")[PIXELS][0] for scene in scenes]
    labels = [torch.from_numpy(tile_labels(scene)) for scene in scenes]
    present = [torch.from_numpy(tile_presence(scene)) for scene in scenes]
    return pixels, labels, present


@dataclass(frozen=True)
class TextBatch:
    """Packed questions of several pictures, padded at the right.

    Attributes:
        tokens: (b, n) token ids.
        segments: (b, n) question (from 0) that a token belongs to, −1 at padding.
        offsets: (b, n) place (from 0) of the token within its question.
        targets: (b, n) id that the token must predict; −100 where it predicts nothing.
        weights: (b, n) weight of each target.
        allowed: (b, 1, n, n) bool; entry (…, i, j) is True if token i sees token j.
        tasks: `tasks[i][j]` is the task of question j about picture i.
    """

    tokens: torch.Tensor
    segments: torch.Tensor
    offsets: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    allowed: torch.Tensor
    tasks: list[tuple[str, ...]]

    def to(self, device: torch.device) -> TextBatch:
        """The same batch on `device`."""
        return TextBatch(
            self.tokens.to(device),
            self.segments.to(device),
            self.offsets.to(device),
            self.targets.to(device),
            self.weights.to(device),
            self.allowed.to(device),
            self.tasks,
        )


def collate(packs: list[Packed]) -> TextBatch:
    """Pad packed questions to the longest pack and build their block mask.

    A token sees its own question up to and including itself.
    """
    longest = max(len(pack.tokens) for pack in packs)

    def padded(name: str, fill: float) -> torch.Tensor:
        rows = [np.pad(getattr(p, name), (0, longest - len(p.tokens)), constant_values=fill) for p in packs]
        return torch.from_numpy(np.stack(rows))

    segments = padded("segments", -1)
    same = segments[:, :, None] == segments[:, None, :]
    allowed = (same & torch.ones(longest, longest, dtype=torch.bool, device="cpu").tril())[:, None]
    tasks = [pack.tasks for pack in packs]
    return TextBatch(
        padded("tokens", 0),
        segments,
        padded("offsets", 0),
        padded("targets", -100),
        padded("weights", 0.0),
        allowed,
        tasks,
    )
