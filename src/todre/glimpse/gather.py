"""Inputs of a glimpse from the frozen model, in one pass for all questions.

The pass covers a picture and all its questions, and ends at the layer where the glimpse looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from todre.errors import InvalidValueError
from todre.glimpse.labels import token_mask
from todre.hf.attention_tap import watch
from todre.hf.model_parts import decoder_depth, decoder_module, text_config
from todre.hf.picture_features import any_resolution_features
from todre.methods.glimpse.predictor import Shape, View
from todre.scenes import Question, Scene
from todre.tensors.attention import AttentionInputs
from todre.tiny.data import Encoder, TextBatch, collate
from todre.tiny.packed_questions import packed_hidden, use_packed_attention


class _Enough(Exception):
    """Ends a forward once the layer's queries and keys are known."""


class Gatherer:
    """A frozen model that is run up to where the glimpse looks.

    Args:
        model: a model like the shipped one; its decoder is switched to the attention of `todre.tiny.packed_questions`.
        processor: its processor.
        layer: count of layers run before the glimpse looks.

    Raises:
        InvalidValueError: no layer follows `layer`.
    """

    def __init__(self, model: Any, processor: Any, layer: int) -> None:
        layers = decoder_depth(model)
        if not 1 <= layer < layers:
            raise InvalidValueError(
                f"A glimpse after layer {layer} of {layers} cannot look with the next one; give 1 to {layers - 1}."
            )
        self.model, self.processor, self.layer = model.requires_grad_(False), processor, layer
        self.encoder = Encoder(processor.tokenizer)
        use_packed_attention(model)

    def shape(self) -> Shape:
        """Sizes of a glimpse for this model."""
        config = text_config(self.model)
        heads = config.num_attention_heads
        return Shape(self.layer, config.num_hidden_layers, config.hidden_size, heads, config.hidden_size // heads)

    @torch.no_grad()
    def view(self, scene: Scene, questions: Sequence[Question]) -> View:
        """Inputs of a glimpse for each of `questions` about one picture."""
        visual = self._encoded(scene)
        bare = [dataclasses.replace(question, answer="") for question in questions]
        text = collate([self.encoder.pack(bare)])
        attention, hidden = self._run(visual[None], text)
        start = len(self.encoder.prefix)
        cut = start + len(visual)
        words = [(text.segments[0] == number).nonzero()[:, 0] for number in range(len(bare))]
        longest = max(len(places) for places in words)
        index = torch.stack([torch.nn.functional.pad(places, (0, longest - len(places))) for places in words])
        lengths = torch.tensor([[len(places)] for places in words], dtype=torch.int64, device="cpu")
        known = torch.arange(longest, dtype=torch.int64, device="cpu") < lengths
        return View(
            query=attention.query[0][:, cut + index].transpose(0, 1),
            states=hidden[0, cut + index],
            text=known,
            key=attention.key[:, :, start:cut],
            inputs=visual[None],
            visual=torch.ones(1, len(visual), dtype=torch.bool, device="cpu"),
            scaling=attention.scaling,
        )

    def masks(self, scene: Scene, questions: Sequence[Question]) -> Tensor:
        """(questions, n) float32, 1 at the visual tokens that each question is about."""
        return torch.from_numpy(np.stack([token_mask(scene, question) for question in questions])).float()

    def _encoded(self, scene: Scene) -> Tensor:
        inputs = self.processor.image_processor(scene.image, return_tensors="pt")
        return any_resolution_features(self.model, inputs)

    def _run(self, visual: Tensor, text: TextBatch) -> tuple[AttentionInputs, Tensor]:
        """Attention inputs of the layer after `layer`, and the states that enter it."""
        layer = decoder_module(self.model).layers[self.layer]
        found: list[Any] = []

        def enter(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            found.append(args[0])

        def listen(attention: AttentionInputs) -> None:
            found.append(attention)
            raise _Enough

        handles = [layer.register_forward_pre_hook(enter), *watch(layer.self_attn, listen, when=lambda: True)]
        try:
            packed_hidden(self.model, torch.tensor(self.encoder.prefix, dtype=torch.int64, device="cpu"), visual, text)
        except _Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return found[1], found[0]
