"""Greedy answers to a batch of questions; rows of one picture share its prefix.

The prefix is everything up to the picture's end. It is run once only where the answers are exactly those of whole
prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.evaluate import packed_questions as packed
from todre.evaluate.probes import DropAfter
from todre.files import printable
from todre.hf.calls import cache_argument
from todre.hf.greedy_decoding import greedy_settings
from todre.hf.keywords import IDS, LOGITS_TO_KEEP, MASK, POSITIONS
from todre.hf.model_parts import decoder_module, text_config
from todre.hf.picture_features import encoded_argument, picture_features
from todre.hf.positions_left import ContextLengthError, answer_length
from todre.hf.versions import DynamicCache
from todre.loading.model import Loaded
from todre.methods.base import Method
from todre.methods.random_deep import RandomDeep
from todre.report import AttentionRatios, PruningReport
from todre.scenes import Question

_NEW_TOKENS = {"caption": 48}
_FEW_TOKENS = 4
LAYERS_APART = ("llama",)
"""Decoders whose layers take and return only hidden states, and have no window.

Without a window, each column attends to all columns before it.
"""


@dataclass(frozen=True)
class Prepared:
    """A picture and the questions about it, ready for the model.

    Attributes:
        pixels: the image processor's tensors, each with a batch of one.
        questions: the questions about the picture.
        prompts: (n_i,) int64 token ids for each question, one image token for each visual token.
    """

    pixels: dict[str, Tensor]
    questions: tuple[Question, ...]
    prompts: tuple[Tensor, ...]


@dataclass(frozen=True)
class Reply:
    """The model's answer to one prompt, and what pruning did to that prompt.

    Attributes:
        text: the answer without special tokens.
        visual_tokens: number of visual tokens that entered the decoder.
        dropped_after: count of layers run when all visual tokens were dropped, or None.
        ratios: layer (1-based) to the ratios of ToDRE's eq. 7, where the method measured them.
        layer_mean: number of visual tokens that a decoder layer ran on, averaged over layers.
    """

    text: str
    visual_tokens: int
    dropped_after: int | None
    ratios: dict[int, AttentionRatios]
    layer_mean: float = 0.0


def new_tokens(question: Question) -> int:
    """Most tokens that an answer may have, the closing token included."""
    return _NEW_TOKENS.get(question.task, _FEW_TOKENS)


def prepare(loaded: Loaded, image: Image.Image, questions: Sequence[Question]) -> Prepared:
    """Tokenised prompts: each question in the chat template, after the picture."""
    pixels, prompts = tensors(loaded, image, [question.text for question in questions])
    return Prepared(pixels, tuple(questions), prompts)


def tensors(loaded: Loaded, image: Image.Image, texts: Sequence[str]) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """A picture's tensors, and the token ids of each text behind the picture.

    Returns:
        The image processor's tensors, each with a batch of one, and (n_i,) int64 token ids for each text.
    """
    rendered = []
    for text in texts:
        conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
        rendered.append(loaded.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))
    inputs = loaded.processor(images=[image] * len(texts), text=rendered, padding=True, return_tensors="pt")
    inputs = inputs.to(loaded.device, dtype=loaded.model.dtype)
    ids, mask = inputs.pop(IDS), inputs.pop(MASK).bool()
    prompts = tuple(row[real] for row, real in zip(ids, mask, strict=True))
    check_room(loaded.model, [len(prompt) for prompt in prompts], texts)
    return {name: value[:1] for name, value in inputs.items()}, prompts


def check_room(model: Any, lengths: Sequence[int], questions: Sequence[str]) -> None:
    """Check that the model has positions for prompts and an answer.

    Raises:
        InvalidValueError: it has not; the message names the question.
    """
    for length, question in zip(lengths, questions, strict=True):
        try:
            answer_length(model, length, None, _FEW_TOKENS)
        except ContextLengthError as error:
            raise InvalidValueError(f"{printable(repr(question), 60)}: {error}") from error


def encode(model: Any, pixels: dict[str, Tensor]) -> Tensor:
    """(n, d) visual tokens of one picture; call it inside `todre.prune`.

    Inside the block, the signals that the method needs are kept with the returned tensor.
    """
    features: Tensor = picture_features(model, pixels)[0]
    return features


def asks_first(method: Method) -> bool:
    """True if the question decides which visual tokens enter the decoder."""
    return any("text" in each.card.needs for each in method.selectors())


def can_share(method: Method, n_layers: int) -> bool:
    """True if `method` treats a picture alike for every question about it."""
    if asks_first(method):
        return False
    inside = [each for reducers in method.reducers(n_layers).values() for each in reducers]
    return all(isinstance(each, DropAfter | RandomDeep) for each in inside)


@torch.inference_mode()
def answer(
    loaded: Loaded,
    report: PruningReport,
    prompts: Sequence[Tensor],
    features: Sequence[Tensor],
    limit: int,
    share: bool,
) -> list[Reply]:
    """Answers to prompts with one picture each; call it inside `todre.prune`.

    Args:
        loaded: model and processor.
        report: the report of the surrounding `todre.prune` block.
        prompts: (n_i,) token ids of each row.
        features: visual tokens of each row's picture; rows about the same picture give the same tensor object.
        limit: most new tokens.
        share: whether rows about the same picture share one run of their common prefix; exact where `can_share` holds.
    """
    model = loaded.model
    pictures, rows = _distinct(features)
    if share and len(pictures) < len(prompts):
        tokens = _from_shared_prefixes(model, prompts, pictures, rows, limit)
    else:
        rows = list(range(len(prompts)))
        ids, mask = _pad(model, prompts)
        tokens = _generate(model, ids, mask, limit, **encoded_argument(features))
    texts = loaded.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [reply_of(report, row, text) for text, row in zip(texts, rows, strict=True)]


def reply_of(report: PruningReport, row: int, text: str) -> Reply:
    """The reply to one row, with what the report says of that row."""
    return Reply(
        text.strip(),
        report.visual_tokens_after[row],
        report.dropped_after_layer[row],
        dict(report.attention_ratios[row]),
        sum(report.visual_tokens_per_layer[row]) / report.n_layers,
    )


def answer_packed(
    loaded: Loaded, report: PruningReport, prompts: Sequence[Tensor], features: Sequence[Tensor], limits: Sequence[int]
) -> list[Reply] | None:
    """Answers like those of `answer`, with all questions of a picture in one row.

    Args:
        loaded, report, prompts, features: as for `answer`.
        limits: most new tokens of each answer.

    Returns:
        The replies, or None where one row would not give exactly the same answers: with positions or layers of a kind
        that needs a row for each question, attention that takes no boolean mask, or generation settings beyond greedy
        decoding.
    """
    model = loaded.model
    if not (packed.plain(model) and packed.takes_masks(model)):
        return None
    pictures, rows = _distinct(features)
    cuts = _cuts(model, prompts)
    cache, _, mask = _prefixes(model, prompts, pictures, rows, cuts)
    prefix = packed.PrefixCache.of(cache, mask)
    if prefix is None or not (prefix.uniform or decoder_module(model).config.model_type in LAYERS_APART):
        return None
    ends = [prompt[cut:] for prompt, cut in zip(prompts, cuts, strict=True)]
    tokens = packed.decode(model, prefix, ends, rows, limits)
    texts = loaded.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [reply_of(report, row, text) for text, row in zip(texts, rows, strict=True)]


def _distinct(features: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The distinct pictures, and the 0-based index of each row's picture among them."""
    pictures = {id(picture): picture for picture in features}
    places = {key: place for place, key in enumerate(pictures)}
    return list(pictures.values()), [places[id(picture)] for picture in features]


def _cuts(model: Any, prompts: Sequence[Tensor]) -> list[int]:
    """Number of tokens of each prompt, up to and including its picture's last token."""
    image_token = model.config.image_token_id
    return [int((prompt == image_token).nonzero().max()) + 1 for prompt in prompts]


def _prefixes(
    model: Any, prompts: Sequence[Tensor], pictures: Sequence[Tensor], rows: Sequence[int], cuts: Sequence[int]
) -> tuple[Any, Tensor, Tensor]:
    """KV cache, token ids and mask of each picture's prefix, padded at the left."""
    starts = [prompts[rows.index(picture)][: cuts[rows.index(picture)]] for picture in range(len(pictures))]
    for prompt, cut, row in zip(prompts, cuts, rows, strict=True):
        if not torch.equal(prompt[:cut], starts[row]):
            raise UnsupportedInputError(
                f"Two prompts about one picture differ within {cut} tokens, before its end; do not share them."
            )
    ids, mask = _pad(model, starts)
    cache = DynamicCache(config=text_config(model))
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    inputs = {IDS: ids, MASK: mask, POSITIONS: positions, LOGITS_TO_KEEP: 1}
    model(**inputs, **encoded_argument(pictures), **cache_argument(model, cache))
    return cache, ids, mask


def _from_shared_prefixes(
    model: Any, prompts: Sequence[Tensor], pictures: Sequence[Tensor], rows: Sequence[int], limit: int
) -> Tensor:
    """Answers that run each picture's prefix once and copy its cache."""
    cuts = _cuts(model, prompts)
    cache, ids, mask = _prefixes(model, prompts, pictures, rows, cuts)
    repeats = torch.tensor(rows, device=ids.device, dtype=torch.int64)
    cache.batch_select_indices(repeats)
    ends, real = _pad(model, [prompt[cut:] for prompt, cut in zip(prompts, cuts, strict=True)])
    ids, mask = torch.cat([ids[repeats], ends], dim=1), torch.cat([mask[repeats], real], dim=1)
    return _generate(model, ids, mask, limit, **cache_argument(model, cache))


def _pad(model: Any, rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(b, longest) token ids, padded at the left, and their mask."""
    longest = max(len(row) for row in rows)
    padding = model.generation_config.pad_token_id or 0
    ids = torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0), value=padding) for row in rows])
    mask = torch.stack([torch.nn.functional.pad(torch.ones_like(row), (longest - len(row), 0)) for row in rows])
    return ids, mask


def _generate(model: Any, ids: Tensor, mask: Tensor, limit: int, **more: Any) -> Tensor:
    """(b, new) token ids by greedy decoding."""
    tokens: Tensor = model.generate(**{IDS: ids, MASK: mask}, **greedy_settings(limit), **more)
    return tokens[:, ids.shape[1] :]
