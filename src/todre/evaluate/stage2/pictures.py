"""A group's pictures and questions, tokenised once and encoded for each method."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from todre.errors import InvalidValueError, UnsupportedModelError
from todre.evaluate.batch_answers import LAYERS_APART, encode, tensors
from todre.evaluate.packed_questions import plain, takes_masks
from todre.evaluate.stage2.answers import Asked
from todre.evaluate.stage2.prefixes import run_prefixes
from todre.evaluate.tasks import Item
from todre.hf.model_parts import decoder_module
from todre.loading.model import Loaded
from todre.methods.base import Method, NoPruning
from todre.pruning import prune

GREY = (128, 128, 128)


@dataclass(frozen=True)
class Shown:
    """A picture and the questions about it.

    Attributes:
        pixels: the image processor's tensors, each with a batch of one.
        start: (s,) token ids up to the picture's end.
        ends: (t_i,) token ids of each question behind it.
        places: 0-based index of each question in the group.
        limits: most new tokens of each answer.
    """

    pixels: dict[str, Tensor]
    start: Tensor
    ends: tuple[Tensor, ...]
    places: tuple[int, ...]
    limits: tuple[int, ...]


def check_model(model: Any) -> None:
    """Check that changes of single layers can be measured on `model`.

    Raises:
        UnsupportedModelError: they cannot.
    """
    kind = decoder_module(model).config.model_type
    if kind not in LAYERS_APART or not takes_masks(model) or not plain(model):
        raise UnsupportedModelError(
            f"Layers are changed one by one only in decoders of type {', '.join(LAYERS_APART)} with sdpa attention and "
            f"plain greedy decoding; this is one of type {kind}."
        )


def check_items(items: Sequence[Item]) -> None:
    """Check that every question has one picture.

    Raises:
        InvalidValueError: one has several, or a clip.
    """
    for item in items:
        if len(item.media) != 1 or item.video:
            raise InvalidValueError(
                f"Question {item.id} of {item.task} has {len(item.media)} pictures, and questions about one are needed."
            )


def shown_pictures(loaded: Loaded, items: Sequence[Item], grey: bool = False) -> list[Shown]:
    """The pictures of some items, in order, with their questions.

    Args:
        loaded: model and processor.
        items: the questions, one picture each.
        grey: whether each picture is replaced by a plain grey one of the same size.
    """
    found = []
    for name in dict.fromkeys(item.picture for item in items):
        places = [place for place, item in enumerate(items) if item.picture == name]
        image = items[places[0]].media[0]()
        if grey:
            image = Image.new("RGB", image.size, GREY)
        pixels, prompts = tensors(loaded, image, [items[place].question for place in places])
        cut = int((prompts[0] == loaded.model.config.image_token_id).nonzero().max()) + 1
        ends = tuple(prompt[cut:] for prompt in prompts)
        limits = tuple(items[place].new_tokens for place in places)
        found.append(Shown(pixels, prompts[0][:cut], ends, tuple(places), limits))
    return found


def merged(pictures: Sequence[Shown]) -> list[Shown]:
    """Pictures with equal pixels as one, such as grey pictures of one size."""
    found: list[Shown] = []
    for one in pictures:
        same = next((n for n, other in enumerate(found) if _same(one, other)), None)
        if same is None:
            found.append(one)
            continue
        other = found[same]
        found[same] = replace(
            other, ends=other.ends + one.ends, places=other.places + one.places, limits=other.limits + one.limits
        )
    return found


def alike(pictures: Sequence[Shown], most: int) -> Iterator[list[Shown]]:
    """Batches of at most `most` pictures whose prefixes have the same layout."""
    waiting = list(pictures)
    while waiting:
        mine = [one for one in waiting if len(one.start) == len(waiting[0].start)][:most]
        waiting = [one for one in waiting if all(one is not other for other in mine)]
        yield mine


@torch.inference_mode()
def asked(
    model: Any,
    pictures: Sequence[Shown],
    method: Method,
    keep: Collection[int] = (),
) -> Asked:
    """The questions about pictures of one layout, after `method`'s stage 1.

    Args:
        model: a model that `check_model` accepts.
        pictures: of one layout.
        method: a method that acts before the decoder alone.
        keep: layers (from 0) whose prefixes' entering states are kept; only without pruning.
    """
    with nullcontext() if isinstance(method, NoPruning) else prune(model, method):
        features = [encode(model, one.pixels) for one in pictures]
        prefixes = run_prefixes(model, [one.start for one in pictures], features, keep)
    ends = [end for one in pictures for end in one.ends]
    owners = [number for number, one in enumerate(pictures) for _ in one.ends]
    limits = [limit for one in pictures for limit in one.limits]
    return Asked(model, prefixes, ends, owners, limits)


def _same(one: Shown, other: Shown) -> bool:
    return torch.equal(one.start, other.start) and all(
        torch.equal(value, other.pixels[name]) for name, value in one.pixels.items()
    )
