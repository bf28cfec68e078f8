"""Which architectures are verified and which are refused.

There is one row for each architecture that transformers' auto class knows. Importing torch and transformers takes
seconds, and printing a list should not, so the facts of `todre.hf.families` are kept in catalog.json:
`python -m todre.catalog > src/todre/catalog.json` writes it, and a test compares the two.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.hf.refused import REFUSED
from todre.shipped import brought

if TYPE_CHECKING:
    from todre.hf.families import Family

CHECKS = (
    "keeping every token gives the bits of the untouched model",
    "stage 1, stage 2 and both, prefill and 8 decoding steps, within 1e-5 of an independent reference",
    "a left-padded batch of ragged prompts equals its prompts one by one",
    "several pictures in a prompt, and none",
    "a second turn on the same cache equals the reference",
)
"""Checks that every verified row passes.

They run on tiny random models in float32, with SDPA against eager attention.
"""

_MAPPING = "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"


@dataclass(frozen=True)
class Row:
    """One architecture, and whether todre prunes it.

    Attributes:
        model_type: the architecture's `config.model_type`.
        architecture: the class that the auto class loads.
        status: `verified`, `refused`, or `unknown` where transformers is newer than this table.
        media: the media that were checked: "images", or "images, clips".
        saliency: `cls`, `received` or `none`: what the vision tower offers to methods that rank by attention.
        note: limits of a verified row, or the reason of a refusal.
        ships: names of models of this architecture that come with todre.
    """

    model_type: str
    architecture: str
    status: str
    media: str
    saliency: str
    note: str
    ships: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The row ready for JSON, with the checks of a verified row."""
        return asdict(self) | {"checks": list(CHECKS) if self.status == "verified" else []}


def rows() -> list[Row]:
    """All architectures of transformers' image-text-to-text auto class, by name."""
    verified = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return [_row(model_type, architecture, verified) for model_type, architecture in sorted(_known().items())]


def facts() -> dict[str, dict[str, str]]:
    """Facts about each verified architecture, as catalog.json holds them."""
    from todre.hf.families import FAMILIES

    return {
        family.model_type: {"media": _media(family), "saliency": _saliency(family), "note": family.note}
        for _, family in sorted(FAMILIES.items())
    }


def _row(model_type: str, architecture: str, verified: dict[str, dict[str, str]]) -> Row:
    if model_type in verified:
        ships = tuple(model.name for model in brought() if model.model_type == model_type)
        return Row(model_type, architecture, "verified", **verified[model_type], ships=ships)
    if model_type in REFUSED:
        return Row(model_type, architecture, "refused", "", "", REFUSED[model_type])
    return Row(model_type, architecture, "unknown", "", "", "newer than this release of todre, so it is refused")


def _known() -> dict[str, str]:
    """Model types that the auto class knows, each with its architecture.

    They are read from transformers' source, or imported where the source is not as expected.
    """
    return _known_of_source() or _known_of_import()


def _known_of_source() -> dict[str, str]:
    """The auto class's mapping, read from transformers' source without running it.

    The mapping is empty where the source does not write it out.
    """
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        return {}
    file = Path(package.origin).parent / "models" / "auto" / "modeling_auto.py"
    try:
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == _MAPPING:
                pairs = statement.value.args[0] if isinstance(statement.value, ast.Call) else statement.value
                return {name: _first(found) for name, found in dict(ast.literal_eval(pairs)).items()}
    except (OSError, SyntaxError, ValueError, TypeError, IndexError):
        return {}
    return {}


def _known_of_import() -> dict[str, str]:
    from transformers.models.auto import modeling_auto

    return {name: _first(found) for name, found in getattr(modeling_auto, _MAPPING).items()}


def _first(architecture: str | tuple[str, ...]) -> str:
    return architecture if isinstance(architecture, str) else architecture[0]


def _media(family: Family) -> str:
    return "images, clips" if family.clips else "images"


def _saliency(family: Family) -> str:
    from todre.hf.families import CLS_FAMILIES

    if not family.saliency:
        return "none"
    return "cls" if family.model_type in CLS_FAMILIES else "received"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts(), indent=1, ensure_ascii=False) + "\n")
