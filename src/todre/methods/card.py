"""The card of a method: where it acts, what it needs, which source it follows."""

from __future__ import annotations

from dataclasses import dataclass

ACTS = ("pixels", "tower", "select", "reduce")

NEEDS = {
    "cls": "a vision tower with a [CLS] token",
    "received": "a vision tower whose attention can be read",
    "keys": "a vision tower whose keys can be read",
    "text": "text after the pictures",
    "grid": "visual tokens that stand in a raster",
    "crops": "a picture cut into crops beside a thumbnail (AnyRes)",
    "frames": "a clip",
    "screens": "several pictures of one prompt, or a clip",
    "attention": "queries and keys of decoder layers",
    "hidden": "hidden states between decoder layers",
    "values": "values of decoder layers",
    "angles": "rotary angles that decoder layers are given as cosines and sines",
    "calibration": "numbers fitted beforehand",
    "training": "weights trained beforehand",
    "packed": "a vision tower that packs its pictures into one sequence (Qwen-VL and its kin)",
}
"""Names of things that a method may need, by their keys in `Card.needs`."""


@dataclass(frozen=True)
class Card:
    """Facts about a method that its fields do not say.

    Attributes:
        venue: where the method was published.
        acts: where the method acts, from `ACTS`: `pixels`, on pictures before the processor; `tower`, in or before the
            vision tower; `select`, before the LLM; `reduce`, inside the LLM.
        needs: keys of `NEEDS`.
        budget: `exact`, or one sentence on how far the number of tokens may be from the requested one.
        follows: the source followed where paper and code differ, and the deliberate differences from it.
    """

    venue: str = ""
    acts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    budget: str = "exact"
    follows: str = ""
