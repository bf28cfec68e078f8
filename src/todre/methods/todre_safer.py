"""Variants of ToDRE's version 1 whose stage 2 does not trust one low ratio.

Eq. 7 asks whether text looks at the picture at one layer. A decoder may look away for some layers and read the picture
later; dropped in between, the picture is missing where it is needed (docs/stage2.md). Each variant guards against
that in one way. All keep version 1's candidate layers and threshold, so that they can be compared.
"""

from __future__ import annotations

import functools

from todre.methods.base import Preset
from todre.methods.card import Card
from todre.methods.todre import ToDRE


def _preset(name: str, summary: str, guard: str, budget: str = ToDRE.card.budget, **fields: object) -> Preset:
    """Version 1 with one guard.

    Args:
        name, summary: of the preset.
        guard: a sentence on what the guard does, for the card.
        budget: of the card.
        fields: settings that differ from version 1.
    """
    card = Card("", ("select", "reduce"), ("attention",), budget, f"This project's own (docs/stage2.md): {guard}")
    return Preset(name, functools.partial(ToDRE.v1, **fields), ToDRE, summary, card=card)


PRESETS = (
    _preset(
        "todre-ahead",
        "version 1, if later candidate layers are expected to look away too",
        "the ratios of later candidate layers, estimated from the present states, must be low too. Otherwise todre-v1.",
        ahead="candidates",
    ),
    _preset(
        "todre-ahead-all",
        "version 1, if every later layer is expected to look away too",
        "the ratios of all later layers, estimated from the present states, must be low too. Otherwise todre-v1.",
        ahead="layers",
    ),
    _preset(
        "todre-last",
        "version 1, by the attention of the last text token alone",
        "the ratio is that of the token from which the answer is predicted. Otherwise todre-v1.",
        ratio_over="last",
    ),
    _preset(
        "todre-floor",
        "version 1, but 16 visual tokens stay to the end",
        "the tokens that text attends to most stay. Otherwise todre-v1.",
        "Stage 1 is exact; stage 2 keeps all or 16, in later turns of a chat at most 16.",
        floor=16,
    ),
    _preset(
        "todre-horizon",
        "version 1 without the layers before a measured horizon",
        "nothing leaves before 4/5 of the depth, the horizon of smol; `todre analyze calibrate` measures "
        "another's. Otherwise todre-v1.",
        horizon=4 / 5,
    ),
)
