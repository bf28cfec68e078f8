"""Facts about visual tokens as attributes of what an encoding method returned.

transformers passes this output on as the same object, also where `generate` encodes before prefill and then repeats
tensors in it for beams (seen in 5.24). So attributes that are set on it arrive with it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from todre.errors import UnsupportedInputError
from todre.hf.encoding import Encoding
from todre.hf.families import Family
from todre.hf.model_parts import entries_of
from todre.hf.visual_layouts import rasters
from todre.tensors.token_facts import TokenFacts
from todre.tower.runs import Lengths

FACTS_ATTRIBUTE = "todre_facts"
"""Attribute with facts, of an encoding method's output or of one of its entries."""

_LENGTHS_ATTRIBUTE = "todre_tower"
"""Attribute with the tower's sequence lengths, of an encoding method's output."""


def set_facts(output: Any, features: Any, facts: list[TokenFacts]) -> None:
    """Put facts on an encoding method's output, and on each of its entries.

    Args:
        output: what the method returned.
        features: the encoded entries in it.
        facts: facts of each entry, or of each clip where frames are entries.
    """
    setattr(output, FACTS_ATTRIBUTE, facts)
    if isinstance(features, list | tuple) and len(features) == len(facts):
        for entry, fact in zip(features, facts, strict=True):
            setattr(entry, FACTS_ATTRIBUTE, fact)


def facts_of(output: Any) -> list[TokenFacts] | None:
    """The facts of encoded media; None if the media were encoded outside the block.

    The facts are on the output as a whole, or on its entries. So pictures may be encoded once, inside the block, and
    asked about in any order and combination.
    """
    whole: list[TokenFacts] | None = getattr(output, FACTS_ATTRIBUTE, None)
    entries = entries_of(output)
    if not isinstance(entries, list | tuple):
        return whole
    single = [getattr(entry, FACTS_ATTRIBUTE, None) for entry in entries]
    found = [fact for fact in single if fact is not None]
    if not found or len(found) < len(single):
        return whole
    # The caller may have put the entries into another order since, so what they carry themselves counts; but `generate`
    # repeats them for beams, which share one choice.
    return found if whole is None or len(found) == len(whole) else whole


def set_layer_lengths(output: Any, lengths: list[Lengths]) -> None:
    """Record the lengths that the tower ran on, on the output of an encoding method."""
    setattr(output, _LENGTHS_ATTRIBUTE, lengths)


def layer_lengths_of(output: Any) -> list[Lengths]:
    """The recorded lengths of each call of a tower; empty if none are known."""
    return getattr(output, _LENGTHS_ATTRIBUTE, None) or []


def entry_lengths(features: Any) -> list[int]:
    """Visual tokens of each encoded entry.

    Args:
        features: a list of (n, d), a tensor (entries, n, d), or (n, d) for a single entry.
    """
    if isinstance(features, Tensor) and features.ndim == 2:
        return [int(features.shape[0])]
    return [int(entry.reshape(-1, entry.shape[-1]).shape[0]) for entry in features]


def lay_out(family: Family, kind: str, encoding: Encoding) -> list[TokenFacts]:
    """Facts of each entry of an encoding call, by the family's layout.

    Args:
        family: the facts about the model's family, which has a layout for `kind`.
        kind: kind of medium.
        encoding: the call.

    Raises:
        UnsupportedInputError: the layout gives another number of tokens than the model made.
    """
    layout = family.layout(kind)
    assert layout is not None  # for mypy: methods without a layout are not wrapped
    # A Pixtral tower packs its pictures into one sequence, whichever family it stands in.
    if getattr(getattr(encoding.config, "vision_config", None), "model_type", None) == "pixtral":
        layout = rasters
    facts = layout(encoding)
    have, laid_out = sum(encoding.lengths), sum(len(fact) for fact in facts)
    if have != laid_out:
        raise UnsupportedInputError(
            f"The pictures have {have} visual tokens but their layout gives {laid_out}; "
            "this way of encoding pictures is not supported."
        )
    return facts
