"""What stage 2 would do at any threshold, from ratios and answers by layer.

Until the picture leaves, the decoder runs as without stage 2. So the ratios of that run decide, and the answer is the
one with the picture dropped after the layer that decided (`todre.analysis.calibrate` does the same).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from todre.evaluate.stage2.changes import Change
from todre.evaluate.stage2.plan import WHOLE, Part, Plan, stage1_name
from todre.evaluate.stage2.scores import Floats, Scores

RULES = ("printed", "last", "later")
"""What has to lie below τ after a candidate layer.

`printed`: α(t→v) as in eq. 7. `last`: the attention of the last text token alone. `later`: α(t→v) there and after every
later layer, read from the whole run, which is what a perfect look ahead would decide.
"""


@dataclass(frozen=True)
class Fired:
    """Stage 2 of a version under one rule and threshold, after one stage 1.

    Attributes:
        rule: one of `RULES`.
        version: `todre` or `todre-v1`.
        retain: the budget of stage 1 before it; None for stage 2 alone.
        threshold: τ.
        printed: whether this is the version's own rule and threshold.
        layers: (n,) count of layers run when the picture left; NaN where it did not.
        marks: (n,) mark of each answer.
        before: (n,) mark of each answer without stage 2.
        tokens: (n,) visual tokens before stage 2.
    """

    rule: str
    version: str
    retain: float | None
    threshold: float
    printed: bool
    layers: Floats
    marks: Floats
    before: Floats
    tokens: Floats

    @property
    def name(self) -> str:
        """Name in results, such as `todre-v1@0.1` or `todre-v1 stage 2`."""
        return f"{self.version} stage 2" if self.retain is None else f"{self.version}@{self.retain:g}"


def layers_of(ratios: Floats, candidates: Sequence[int], threshold: float) -> Floats:
    """(n,) first candidate whose ratio lies below the threshold; NaN where none does.

    Text queries stand behind the picture, so no visual query can see text: α(v→t) is undefined, which does not prevent
    dropping, or 0 as eq. 7 is printed, which lies below every threshold. So α(t→v) alone decides either way.

    Args:
        ratios: (n, layers) mean attention of text on the picture.
        candidates: counts of layers run, ascending.
        threshold: τ.
    """
    found = np.full(len(ratios), np.nan)
    for layer in reversed(candidates):
        found = np.where(ratios[:, layer - 1] < threshold, layer, found)
    return found


def fired(scores: Scores, plan: Plan) -> list[Fired]:
    """Stage 2 of each version, alone and after stage 1, at each threshold and its own.

    Every rule comes with the candidate layers of both versions.
    """
    parts = {part.name: part for part in plan.parts()}
    rows = []
    for rule in RULES:
        for version, method in plan.versions.items():
            for retain in (None, *plan.retains):
                part = parts[WHOLE if retain is None else stage1_name(version, retain)]
                for threshold in sorted({*plan.thresholds, method.threshold}):
                    rows.append(_fired(scores, plan, part, rule, version, retain, threshold))
    return rows


def ratios_of(scores: Scores, part: Part, rule: str) -> Floats:
    """(n, layers) the ratio that has to lie below τ after each layer."""
    ratios = scores.attention(part, "last" if rule == "last" else "text")
    if rule == "later":
        ratios = np.maximum.accumulate(ratios[:, ::-1], axis=1)[:, ::-1]
    return ratios


def _fired(
    scores: Scores, plan: Plan, part: Part, rule: str, version: str, retain: float | None, threshold: float
) -> Fired:
    candidates = plan.candidates(version)
    layers = layers_of(ratios_of(scores, part, rule), candidates, threshold)
    before = marks = scores.marks(part)
    for layer in candidates:
        marks = np.where(layers == layer, scores.marks(part, Change("drop", layer).name), marks)
    tokens = scores.each(part, lambda item, record: record["tokens"]["visual"])
    printed = rule == "printed" and threshold == plan.versions[version].threshold
    return Fired(rule, version, retain, threshold, printed, layers, marks, before, tokens)


def describe(row: Fired, scores: Scores, depth: int) -> dict[str, Any]:
    """How often a rule fires, where, and what it costs, ready for JSON."""
    counts = Counter(int(layer) for layer in row.layers[~np.isnan(row.layers)])
    did = np.where(np.isnan(row.before), np.nan, ~np.isnan(row.layers))
    left = np.where(np.isnan(row.layers), depth, row.layers) * row.tokens / depth
    return {
        "rule": row.rule,
        "version": row.version,
        "retain": row.retain,
        "threshold": row.threshold,
        "printed": row.printed,
        "fired": scores.whole(did),
        "by_layer": {str(layer): counts[layer] for layer in sorted(counts)},
        "layer_mean": round(float(np.nanmean(left)), 3),
        "score": scores.whole(row.marks),
        "against_without": scores.whole(row.marks - row.before),
        "against_without_where_fired": scores.mean(np.where(did == 1, row.marks - row.before, np.nan)),
    }
