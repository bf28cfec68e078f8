"""Prompts: a model's inputs for questions, with the class of every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from todre.analysis.questions import PictureQuestion
from todre.errors import UnsupportedInputError
from todre.hf.families import family_of
from todre.hf.keywords import IDS, MASK
from todre.loading.model import Loaded
from todre.processing import apply_batch, check_columns
from todre.tensors.columns import token_kinds
from todre.tensors.token_facts import KINDS


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts, padded at the left.

    Attributes:
        inputs: keyword arguments of the model's forward.
        kinds: (b, q) int8 class of each token: padding, S (text before the picture), V (visual), or T (text after it);
            see `todre.tensors.columns`.
        valid: (b, q) bool, False at padding.
    """

    inputs: Any
    kinds: Tensor
    valid: Tensor


def prompts_of(loaded: Loaded, questions: Sequence[PictureQuestion]) -> Prompts:
    """Prompts of the questions in the processor's chat template, after their pictures.

    Raises:
        UnsupportedModelError: the model's family is not supported.
        UnsupportedInputError: a prompt holds no visual token.
    """
    family = family_of(loaded.model)
    inputs, _ = apply_batch(loaded.processor, [conversation(one) for one in questions])
    check_columns(loaded.model.config, inputs)
    inputs = inputs.to(loaded.device, dtype=loaded.model.dtype)
    ids = inputs[IDS]
    visual = torch.zeros_like(ids, dtype=torch.bool)
    for kind in KINDS:
        token = family.token_id(loaded.model.config, kind) if kind == "image" or family.clips else None
        if token is not None:
            visual |= ids == token
    if not bool(visual.any(dim=1).all()):
        raise UnsupportedInputError(f"A prompt of {loaded.name} holds no visual token, so there is nothing to measure.")
    mask = inputs.get(MASK)
    valid = mask.bool() if mask is not None else torch.ones_like(visual)
    earlier = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    return Prompts(inputs, token_kinds(visual, valid, earlier, drafts=0), valid)


def conversation(question: PictureQuestion, answer: str | None = None) -> list[dict[str, Any]]:
    """Messages of the question after its picture, and of the answer if there is one."""
    content = [{"type": "image", "image": question.open()}, {"type": "text", "text": question.question.text}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if answer is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return messages


def first_answer_token(loaded: Loaded, question: PictureQuestion) -> int:
    """Id of the true answer's first token, where the chat template puts it.

    Raises:
        UnsupportedInputError: the question has no true answer.
    """
    answer = question.question.answer
    if not answer.strip():
        raise UnsupportedInputError(
            f"The question {question.question.text!r} has no true answer, which this needs; give it an answer."
        )
    processor = loaded.processor
    prompt = processor.apply_chat_template(conversation(question), add_generation_prompt=True, tokenize=False)
    whole = processor.apply_chat_template(conversation(question, answer), tokenize=False)
    before, after = (processor.tokenizer(text)[IDS] for text in (prompt, whole))
    if after[: len(before)] == before and len(after) > len(before):
        return int(after[len(before)])
    return int(processor.tokenizer(answer, add_special_tokens=False)[IDS][0])
