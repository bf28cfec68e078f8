"""The modules that training changes, around a frozen tower and a frozen decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from todre import tiny
from todre.errors import InvalidValueError
from todre.hf.keywords import ALL_STATES, EMBEDS, MASK, POSITIONS, USE_CACHE
from todre.hf.model_parts import all_states, last_states, media_features
from todre.hf.tower_features import layer_output, run_tower
from todre.smol.prompts import Pieces
from todre.smol.training.attention import use_chunk_attention
from todre.smol.training.chunks import Chunks
from todre.smol.training.firsts import LAYER, Marks
from todre.smol.training.lora import LowRank, add_low_rank


@dataclass
class Learner:
    """A LLaVA-NeXT in training: only connector, newline and low-rank updates change.

    Attributes:
        model: tower and connector in float32, decoder in the dtype of training.
        updates: "{layer}.{matrix}" → low-rank update.
        pieces: token ids of prompts.
        rank, scale: of the low-rank updates.
        marks: reads an extra target of training; it does not ship.
    """

    model: Any
    updates: dict[str, LowRank]
    pieces: Pieces
    rank: int
    scale: float
    marks: Marks

    @property
    def connector(self) -> nn.Module:
        """The two-layer connector between tower and decoder."""
        connector: nn.Module = self.model.model.multi_modal_projector
        return connector

    def trained(self) -> dict[str, torch.Tensor]:
        """Name in the part file → trained tensor (float32, not copied)."""
        named: dict[str, torch.Tensor] = {
            f"connector.{name}": value for name, value in self.connector.named_parameters()
        }
        named["image_newline"] = self.model.model.image_newline
        for place, update in self.updates.items():
            named[f"lora.{place}.A"], named[f"lora.{place}.B"] = update.A, update.B
        return named

    @torch.no_grad()
    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Copy trained tensors, named as `trained` names them, into the modules.

        Tensors that are missing leave their modules as they are.

        Raises:
            InvalidValueError: a tensor has no place here, or another shape; then nothing is copied.
        """
        own = self.trained()
        for name, value in tensors.items():
            if name not in own:
                raise InvalidValueError(f"{name} has no place in this decoder; take what was trained for it.")
            if value.shape != own[name].shape:
                raise InvalidValueError(
                    f"{name} has the shape {tuple(value.shape)}, not {tuple(own[name].shape)}; take what was trained "
                    "with this rank and for this decoder."
                )
        for name, value in tensors.items():
            own[name].copy_(value)

    def thumbnails(self, pixels: torch.Tensor) -> torch.Tensor:
        """(b, 144, width) float32 visual tokens of thumbnails alone.

        Args:
            pixels: (b, 3, 96, 96) float32 thumbnails as the image processor gives them.
        """
        visual: torch.Tensor = self.connector(self.features(pixels))
        return visual

    @torch.no_grad()
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(b, 144, 192) float32 patch features of the frozen tower."""
        return layer_output(run_tower(self.model.model.vision_tower, pixels), -2)[:, 1:]

    def with_crops(self, pixels: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
        """(b, n, width) visual tokens of thumbnail and crops, with newline tokens.

        Args:
            pixels: for each picture, (tiles, 3, 96, 96) float32; equal numbers of tiles.
            sizes: (width, height) of each picture in pixels; equal ones.
        """
        heights = torch.tensor([[height, width] for width, height in sizes], dtype=torch.int64, device="cpu")
        output = self.model.model.get_image_features(torch.stack(list(pixels)), heights, return_dict=True)
        return torch.stack(list(media_features(output)))

    def hidden(self, visual: torch.Tensor, chunks: Chunks) -> torch.Tensor:
        """(b, c, l, width) last hidden states at the questions' tokens.

        Args:
            visual: (b, n, width) visual tokens.
            chunks: the questions.
        """
        return self.watched(visual, chunks)[0]

    def watched(self, visual: torch.Tensor, chunks: Chunks) -> tuple[torch.Tensor, torch.Tensor]:
        """Last hidden states at the questions, earlier ones at the visual tokens.

        Args:
            visual: (b, n, width) visual tokens.
            chunks: the questions.

        Returns:
            (b, c, l, width), and (b, n, width) before the layer `firsts.LAYER`.
        """
        table = self.model.get_input_embeddings()
        batch, count, length = chunks.tokens.shape
        before, after = (
            table(torch.tensor(ids, dtype=torch.int64, device="cpu"))[None].expand(batch, -1, -1)
            for ids in (self.pieces.before, self.pieces.after)
        )
        text = table(chunks.tokens.view(batch, count * length))
        embeds = torch.cat([before, visual.to(text.dtype), after, text], dim=1)
        cut = embeds.shape[1] - count * length
        prefix = torch.arange(cut, dtype=torch.int64, device="cpu").expand(batch, -1)
        positions = torch.cat([prefix, cut + chunks.offsets.view(batch, -1)], dim=1)
        arguments = {EMBEDS: embeds, MASK: chunks.allowed, POSITIONS: positions, USE_CACHE: False, ALL_STATES: True}
        output = self.model.model.language_model(**arguments)
        states = all_states(output) or ()
        early = states[min(LAYER, len(states) - 1)]
        start = len(self.pieces.before)
        seen = early[:, start : start + visual.shape[1]]
        return last_states(output)[:, cut:].reshape(batch, count, length, -1), seen


def build_learner(base: Path, rank: int, scale: float, seed: int, dtype: torch.dtype) -> Learner:
    """A learner with its starting weights, the same for equal seeds.

    Args:
        base: folder of the decoder's weights and tokenizer, as `todre smol fetch` writes it.
        rank, scale: of the low-rank updates.
        seed: seed of connector, newline and updates.
        dtype: dtype of the decoder in training.
    """
    from transformers import AutoTokenizer, LlamaForCausalLM, LlavaNextConfig, LlavaNextForConditionalGeneration

    decoder = LlamaForCausalLM.from_pretrained(base, dtype=dtype).eval()
    toy, _ = tiny.load()
    settings = toy.config.to_dict()
    config = LlavaNextConfig(
        **{**settings, "text_config": decoder.config.to_dict(), "image_token_index": 3, "tie_word_embeddings": True}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.device("meta"):
            model = LlavaNextForConditionalGeneration(config)
        model.model.vision_tower = toy.model.vision_tower
        model.model.language_model = decoder.model
        model.lm_head = decoder.lm_head
        model.requires_grad_(False)
        connector = model.model.multi_modal_projector.to_empty(device="cpu")
        for layer in (connector.linear_1, connector.linear_2):
            layer.reset_parameters()
        connector.requires_grad_(True)
        spread = float(decoder.get_input_embeddings().weight.float().std())
        newline = spread * torch.randn(decoder.config.hidden_size, dtype=torch.float32, device="cpu")
        model.model.image_newline = nn.Parameter(newline)
        updates = add_low_rank(model.model.language_model, rank, scale)
    use_chunk_attention(model.model.language_model)
    pieces = Pieces(AutoTokenizer.from_pretrained(base))
    return Learner(model.eval(), updates, pieces, rank, scale, Marks(decoder.config.hidden_size))


def answer_loss(
    learner: Learner, hidden: torch.Tensor, chunks: Chunks, weights: Mapping[str, float] | None = None
) -> tuple[torch.Tensor, dict[str, float]]:
    """Mean cross-entropy of the answers' tokens, and counts of right answers by task.

    The true answers are fed in; an answer is right if every token of it is predicted over the whole vocabulary.

    Args:
        learner: the model.
        hidden: (b, c, l, width) last hidden states at the questions' tokens.
        chunks: the questions.
        weights: task → weight of its tokens in the mean; 1 where it is not named.

    Returns:
        The loss, and "right/TASK" and "asked/TASK" → number of questions.
    """
    chosen = chunks.targets >= 0
    logits = learner.model.lm_head(hidden[chosen]).float()
    each = F.cross_entropy(logits, chunks.targets[chosen], reduction="none")
    shares = _token_weights(chunks, weights or {})[chosen]
    loss = (each * shares).sum() / shares.sum()
    with torch.no_grad():
        wrong = torch.zeros_like(chosen)
        wrong[chosen] = logits.argmax(-1) != chunks.targets[chosen]
    counts: dict[str, float] = {}
    for row, tasks in enumerate(chunks.tasks):
        missed = set(chunks.segments[row][wrong[row]].tolist())
        for index, task in enumerate(tasks):
            counts[f"asked/{task}"] = counts.get(f"asked/{task}", 0.0) + 1
            counts[f"right/{task}"] = counts.get(f"right/{task}", 0.0) + (index not in missed)
    return loss, counts


def _token_weights(chunks: Chunks, weights: Mapping[str, float]) -> torch.Tensor:
    """(b, c, l) float32 weight of each token's task; 1 at padding."""
    rows = []
    for segments, tasks in zip(chunks.segments, chunks.tasks, strict=True):
        of_task = torch.tensor([*(weights.get(task, 1.0) for task in tasks), 1.0], dtype=torch.float32, device="cpu")
        rows.append(of_task[segments])  # padding is segment −1, which is the last entry
    return torch.stack(rows)
