"""Prompts with several pictures or a clip, and a loss on visual tokens' order.

The loss teaches each visual token to tell which picture, or which third of the clip, it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from todre.scenes.several import ORDINALS
from todre.tiny.data import TextBatch
from todre.tiny.packed_questions import hidden_behind
from todre.tiny.stages import Parts
from todre.tiny.video_model import picture_label

UNPLACED = -100


@dataclass(frozen=True)
class Start:
    """The embeddings that stand before a question.

    Args:
        embeds: (1, n, width) input embeddings.
        places: (1, n) number (from 0) of the picture, or of the third of the clip, that a visual token belongs to;
            `UNPLACED` for other tokens.
    """

    embeds: torch.Tensor
    places: torch.Tensor


def set_start(parts: Parts, visual: torch.Tensor) -> Start:
    """The start of a set's prompt: prefix, then each picture's label and tokens.

    Args:
        parts: the model in training.
        visual: (pictures, v, width) projected visual tokens.
    """
    embed = parts.model.get_input_embeddings()
    pieces = [embed(torch.tensor(parts.encoder.prefix, device=parts.device, dtype=torch.int64))]
    places = [_unplaced(pieces[0])]
    for place, tokens in enumerate(visual):
        label = embed(torch.tensor(parts.encoder.encode(picture_label(place)), device=parts.device, dtype=torch.int64))
        pieces += [label, tokens]
        places += [_unplaced(label), torch.full(tokens.shape[:1], place, device=parts.device, dtype=torch.int64)]
    return Start(torch.cat(pieces)[None], torch.cat(places)[None])


def clip_start(parts: Parts, visual: torch.Tensor) -> Start:
    """The start of a clip's prompt: prefix, then the clip's visual tokens.

    Args:
        parts: the model in training.
        visual: (1, v, width) projected visual tokens.
    """
    prefix = parts.model.get_input_embeddings()(
        torch.tensor(parts.encoder.prefix, device=parts.device, dtype=torch.int64)
    )
    count = visual.shape[1]
    thirds = torch.arange(count, device=parts.device, dtype=torch.int64) * len(ORDINALS) // count
    return Start(torch.cat([prefix[None], visual], dim=1), torch.cat([_unplaced(prefix), thirds])[None])


def hidden_and_order(
    parts: Parts, starts: Sequence[Start], text: TextBatch, layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states at the questions' tokens, and the loss on visual tokens' places.

    The loss is a cross-entropy over the words "first", "second" and "third". A visual token's word is read after one
    decoder layer with the model's own last norm and word vectors, so the loss trains shipped weights only.

    Args:
        parts: the model in training.
        starts: the embeddings before each row's questions, all of one length.
        text: the questions.
        layer: decoder layer (from 0) after which places are read.
    """
    decoder = parts.model.model.language_model
    outputs: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handle = decoder.layers[layer].register_forward_hook(keep)
    try:
        hidden = hidden_behind(parts.model, torch.cat([start.embeds for start in starts]), text)
    finally:
        handle.remove()
    places = torch.cat([start.places for start in starts])
    words = parts.model.lm_head.weight[parts.tokenizer.convert_tokens_to_ids(list(ORDINALS))]
    scores = decoder.norm(outputs[0][:, : places.shape[1]]) @ words.T
    return hidden, F.cross_entropy(scores.flatten(0, 1), places.flatten(), ignore_index=UNPLACED)


def _unplaced(tokens: torch.Tensor) -> torch.Tensor:
    return torch.full(tokens.shape[:1], UNPLACED, device=tokens.device, dtype=torch.int64)
