"""The four stages that train the shipped model from nothing.

The stages train the tower on labels, the decoder on symbols, the projector between the two, and then the whole model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from todre.hf.model_parts import last_states, media_features
from todre.hf.tower_features import layer_output, pooled_token, run_tower
from todre.scenes import Scene
from todre.tiny.data import Encoder, TextBatch, collate, picture_tensors, step_scenes, training_questions
from todre.tiny.grids import EASY_MIX, HARD_MIX, make_grid
from todre.tiny.heads import Symbols, TowerHeads, symbolic_features, with_newlines
from todre.tiny.initial import start_decoder, whiten_patches
from todre.tiny.labels import NAMED_FEATURES, OTHER_FEATURES, one_hot
from todre.tiny.model import HEADS, build_image_processor, build_model
from todre.tiny.packed_questions import TinyModel, answer_loss, packed_hidden, right_answers, use_packed_attention
from todre.tiny.tokenizer import build_tokenizer

Metrics = dict[str, float]
_WHITENING_SCENES = 32


@dataclass
class Parts:
    """The modules that training changes, and the encoder of their prompts."""

    model: TinyModel
    heads: TowerHeads
    symbols: Symbols
    tokenizer: PreTrainedTokenizerFast
    encoder: Encoder
    device: torch.device

    def modules(self) -> dict[str, nn.Module]:
        """The modules that a run's checkpoint holds, by name."""
        return {"model": self.model, "heads": self.heads, "symbols": self.symbols}


def build_parts(seed: int, device: torch.device) -> Parts:
    """New parts with their starting weights, the same for equal seeds."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed).to(device)
    pixels, _, _ = picture_tensors(step_scenes(0, 1, _WHITENING_SCENES), build_image_processor())
    whiten_patches(model.model.vision_tower, torch.cat(pixels).to(device), seed)
    use_packed_attention(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        table = model.get_input_embeddings().weight.detach().cpu()
        named = {word: table[index].clone() for word, index in tokenizer.get_vocab().items()}
        heads, symbols = TowerHeads().to(device), Symbols(named).to(device)
    start_decoder(
        model.model.language_model, symbols.symbols.detach(), list(NAMED_FEATURES), list(OTHER_FEATURES), HEADS, seed
    )
    return Parts(model, heads, symbols, tokenizer, Encoder(tokenizer), device)


@dataclass(frozen=True)
class Slice:
    """The pictures of one step for one process.

    Attributes:
        first_seed: seed from which the run counts.
        step: number of the step, from 0.
        batch: pictures for each process.
        rank, world: number of this process (from 0), and the number of processes.
        split: "train", "val" or "test".
        progress: share of the stage's budget used before this step.
    """

    first_seed: int
    step: int
    batch: int
    rank: int = 0
    world: int = 1
    split: str = "train"
    progress: float = 0.0

    def scenes(self) -> list[Scene]:
        """The pictures, rendered."""
        return step_scenes(self.first_seed, self.step, self.batch, self.rank, self.world, self.split)

    def rng(self) -> np.random.Generator:
        """A random generator that no other step or process shares."""
        return np.random.default_rng([self.first_seed, self.step, self.rank, 5])


class Stage(Protocol):
    """A stage of training: its modules, its loss and the stages before it."""

    @property
    def name(self) -> str:
        """Name of the stage on the command line and in its checkpoint's file name."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the stages whose results this stage starts from."""

    def trained(self, parts: Parts) -> dict[str, nn.Module]:
        """Modules whose parameters this stage updates."""

    def loss(self, parts: Parts, which: Slice) -> tuple[torch.Tensor, Metrics]:
        """The loss of one step, and numbers for the log."""


@dataclass(frozen=True)
class TowerStage:
    """Trains the CLIP tower alone, on patch labels and on presence.

    Labels are read where the projector reads; presence is read from [CLS].
    """

    name: str = "tower"
    needs: tuple[str, ...] = ()
    crops: int = 4
    processor: Any = field(default_factory=build_image_processor, repr=False)

    def trained(self, parts: Parts) -> dict[str, nn.Module]:
        """Modules that are trained: the tower and its read-outs."""
        return {"tower": parts.model.model.vision_tower, "heads": parts.heads}

    def loss(self, parts: Parts, which: Slice) -> tuple[torch.Tensor, Metrics]:
        """Loss over the thumbnail and up to four crops of each picture."""
        scenes, rng = which.scenes(), which.rng()
        pixels, labels, present = picture_tensors(scenes, self.processor)
        chosen = [np.r_[0, 1 + rng.permutation(p.shape[0] - 1)[: self.crops]] for p in pixels]
        tiles, truths, names = (
            torch.cat([array[index] for array, index in zip(arrays, chosen, strict=True)]).to(parts.device)
            for arrays in (pixels, labels, present)
        )
        output = run_tower(parts.model.model.vision_tower, tiles)
        return parts.heads.loss(layer_output(output, -2), pooled_token(output), truths, names)


@dataclass(frozen=True)
class DecoderStage:
    """Trains the Llama decoder alone, on symbolic tokens made from true labels.

    The pictures grow from small grids to thumbnails and then to thumbnails with crops.
    """

    name: str = "decoder"
    needs: tuple[str, ...] = ()
    grids_until: float = 0.6
    short_until: float = 0.8
    grids_per_picture: int = 3

    def trained(self, parts: Parts) -> dict[str, nn.Module]:
        """Modules that are trained: the decoder with its embeddings, newline and symbols."""
        return {
            "language_model": parts.model.model.language_model,
            "symbols": parts.symbols,
            "newline": _Newline(parts),
        }

    def loss(self, parts: Parts, which: Slice) -> tuple[torch.Tensor, Metrics]:
        """Cross-entropy of the answers."""
        if which.progress < self.grids_until:
            features, text = self._grids(parts, which)
        else:
            scenes = which.scenes()
            crops = which.progress >= self.short_until or which.step % 8 == 7
            features, text = symbolic_features(scenes, crops, which.rng()), _questions(parts, scenes, which)
        visual = parts.symbols(features.to(parts.device), parts.model.model.image_newline)
        loss, metrics = answer_picture(parts, visual, text)
        return loss, {**metrics, "tokens": float(features.shape[1])}

    def _grids(self, parts: Parts, which: Slice) -> tuple[torch.Tensor, TextBatch]:
        """Label features of grids, and questions about them.

        The grids grow during the stage, from 4 × 4 cells with two objects to 9 × 9 cells with ten.
        """
        share, rng = which.progress / self.grids_until, which.rng()
        side = 4 + int(rng.integers(1 + int(5.9 * share)))
        mix = EASY_MIX if share < 0.25 else HARD_MIX
        grids = [
            make_grid(rng, side, int(rng.integers(2, side + 2)), mix)
            for _ in range(which.batch * self.grids_per_picture)
        ]
        features = torch.from_numpy(np.stack([with_newlines(one_hot(grid.labels)[None]) for grid in grids]))
        return features, collate([parts.encoder.pack(grid.questions) for grid in grids]).to(parts.device)


@dataclass(frozen=True)
class ProjectorStage:
    """Trains the projector alone, to turn tower features into symbolic tokens."""

    name: str = "projector"
    needs: tuple[str, ...] = ("tower", "decoder")
    processor: Any = field(default_factory=build_image_processor, repr=False)

    def trained(self, parts: Parts) -> dict[str, nn.Module]:
        """Modules that are trained: the projector."""
        return {"projector": parts.model.model.multi_modal_projector}

    def loss(self, parts: Parts, which: Slice) -> tuple[torch.Tensor, Metrics]:
        """Mean squared error relative to the symbols' own variance."""
        pixels, labels, _ = picture_tensors(which.scenes(), self.processor)
        tiles = torch.cat(pixels).to(parts.device)
        features = torch.from_numpy(one_hot(torch.cat(labels).numpy())).to(parts.device)
        with torch.no_grad():
            hidden = layer_output(run_tower(parts.model.model.vision_tower, tiles), -2)
            target = features @ parts.symbols.symbols
        error = (parts.model.model.multi_modal_projector(hidden[:, 1:]) - target).square().mean()
        return error / target.var(), {}


@dataclass(frozen=True)
class WholeStage:
    """Trains the whole model, from pixels to answers.

    The tower's own losses stay on at a low weight.
    """

    name: str = "whole"
    needs: tuple[str, ...] = ("tower", "decoder", "projector")
    tower_weight: float = 0.1
    processor: Any = field(default_factory=build_image_processor, repr=False)

    def trained(self, parts: Parts) -> dict[str, nn.Module]:
        """Modules that are trained: the whole model and the tower's read-outs."""
        return {"model": parts.model, "heads": parts.heads}

    def loss(self, parts: Parts, which: Slice) -> tuple[torch.Tensor, Metrics]:
        """Cross-entropy of the answers, plus the tower's losses."""
        scenes = which.scenes()
        pixels, labels, present = picture_tensors(scenes, self.processor)
        sizes = torch.tensor([[scene.size[1], scene.size[0]] for scene in scenes], dtype=torch.int64, device="cpu")
        output = parts.model.model.get_image_features(
            torch.stack(pixels).to(parts.device), sizes, return_dict=True, output_hidden_states=True
        )
        visual = torch.stack(list(media_features(output)))
        loss, metrics = answer_picture(parts, visual, _questions(parts, scenes, which))
        cls = parts.model.model.vision_tower.post_layernorm(last_states(output)[:, 0])
        dense, accuracy = parts.heads.loss(
            layer_output(output, -2), cls, torch.cat(labels).to(parts.device), torch.cat(present).to(parts.device)
        )
        metrics |= {f"tower/{key}": value for key, value in accuracy.items()}
        return loss + self.tower_weight * dense, metrics


STAGES: dict[str, Stage] = {s.name: s for s in (TowerStage(), DecoderStage(), ProjectorStage(), WholeStage())}


class _Newline(nn.Module):
    """The newline vector as a module, so that a stage can list it."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.embed_newline = parts.model.model.image_newline


def _questions(parts: Parts, scenes: list[Scene], which: Slice) -> TextBatch:
    packs = [parts.encoder.pack(training_questions(scene, which.step)) for scene in scenes]
    return collate(packs).to(parts.device)


def answer_picture(parts: Parts, visual: torch.Tensor, text: TextBatch) -> tuple[torch.Tensor, Metrics]:
    """Loss and metrics of questions behind one picture, as `answers_loss` gives them.

    Args:
        parts: the model in training.
        visual: (b, v, width) projected visual tokens.
        text: the questions.
    """
    prefix = torch.tensor(parts.encoder.prefix, device=parts.device, dtype=torch.int64)
    return answers_loss(parts, packed_hidden(parts.model, prefix, visual, text), text)


def answers_loss(parts: Parts, hidden: torch.Tensor, text: TextBatch) -> tuple[torch.Tensor, Metrics]:
    """Loss of the answers, and for each task the number of right ones.

    Args:
        parts: the model in training.
        hidden: (b, n, width) hidden states at the questions' tokens.
        text: the questions.
    """
    with torch.no_grad():
        tally = right_answers(parts.model, hidden, text)
    metrics = {}
    for task, (right, questions) in tally.items():
        metrics[f"right/{task}"], metrics[f"asked/{task}"] = float(right), float(questions)
    return answer_loss(parts.model, hidden, text), metrics
