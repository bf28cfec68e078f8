"""Which architectures are verified and which are refused: one row for each that transformers' auto class knows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from todre.families import CLS_FAMILIES, FAMILIES, Family
from todre.refused import REFUSED
from todre.tiny import SHIPPED, SHIPPED_VIDEO

CHECKS = (
    "keeping every token gives the bits of the untouched model",
    "stage 1, stage 2 and both, prefill and 8 decoding steps, within 1e-5 of an independent reference",
    "a left-padded batch of ragged prompts equals its prompts one by one",
    "several pictures in a prompt, and none",
    "a second turn on the same cache equals the reference",
)
"""What every verified row passes, on tiny random models in float32, with SDPA against eager attention."""

_SHIPPED = {"llava_next": SHIPPED, "llava_next_video": SHIPPED_VIDEO}


@dataclass(frozen=True)
class Row:
    """One architecture.

    Attributes:
        model_type: as in `config.model_type`.
        architecture: the class that the auto class loads.
        status: `verified`, `refused`, or `unknown` where transformers is newer than this table.
        media: what was checked: "images", or "images, clips".
        saliency: `cls`, `received` or `none`: what the vision tower offers to methods that rank by attention.
        note: limits of a verified row, or the reason of a refusal.
        ships: name of a model of this architecture that comes with todre, or nothing.
    """

    model_type: str
    architecture: str
    status: str
    media: str
    saliency: str
    note: str
    ships: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, with the checks of a verified row."""
        return asdict(self) | {"checks": list(CHECKS) if self.status == "verified" else []}


def rows() -> list[Row]:
    """All architectures of transformers' image-text-to-text auto class, by name."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as known

    return [_row(model_type, _name(known[model_type])) for model_type in sorted(known)]


def _name(architecture: str | tuple[str, ...]) -> str:
    return architecture if isinstance(architecture, str) else architecture[0]


def _row(model_type: str, architecture: str) -> Row:
    family = FAMILIES.get(model_type)
    if family is not None:
        ships = _SHIPPED.get(model_type, "")
        return Row(model_type, architecture, "verified", _media(family), _saliency(family), family.note, ships)
    if model_type in REFUSED:
        return Row(model_type, architecture, "refused", "", "", REFUSED[model_type])
    return Row(model_type, architecture, "unknown", "", "", "newer than this release of todre, so it is refused")


def _media(family: Family) -> str:
    return "images, clips" if family.clips else "images"


def _saliency(family: Family) -> str:
    if not family.saliency:
        return "none"
    return "cls" if family.model_type in CLS_FAMILIES else "received"
