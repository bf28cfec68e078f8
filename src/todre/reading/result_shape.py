"""The shape that `result.json` of `todre eval` must have."""

from __future__ import annotations

from todre.files import Kind
from todre.files.shapes import COUNT, NUMBER, OBJECT, POSITIVE, TEXT, Each, Shape

_SPREAD: Shape = {"value": (NUMBER, None), "low": (NUMBER, None), "high": (NUMBER, None)}
_AGAINST: Shape = {"difference": _SPREAD, "tasks": Each(OBJECT)}
_ROW: Shape = {
    "name": TEXT,
    "retain": (NUMBER, None),
    "draws": POSITIVE,
    "fields": OBJECT,
    "visual_tokens": NUMBER,
    "layer_mean": NUMBER,
    "score": _SPREAD,
    "tasks": Each(_SPREAD),
    "score_of_each_draw?": [(NUMBER, None)],
    "against_none?": ({"retention": _SPREAD, "difference": _SPREAD, "tasks": Each(OBJECT)}, None),
    "against?": Each(_AGAINST),
}
_GROUP: Shape = {"questions": COUNT, "pictures": COUNT}
_SPLIT: Shape = {
    "control": TEXT,
    "retain": (NUMBER, None),
    "layer_mean": NUMBER,
    "questions": COUNT,
    "right_without_pruning": COUNT,
    "groups": {"hard": _GROUP, "simple": _GROUP},
    "statement": TEXT,
    "rows": [{"name": TEXT, "draws": POSITIVE, "layer_mean": NUMBER, "hard": _SPREAD, "simple": _SPREAD}],
}
_CONDITIONS: Shape = {"model": TEXT, "model_sha256": TEXT, "dtype": TEXT, "questions": TEXT}
RESULT = Kind(
    "give the folder of a finished run of `todre eval`, or its result.json",
    {
        "conditions": _CONDITIONS,
        "tasks": OBJECT,
        "questions": COUNT,
        "pictures": COUNT,
        "rows": [_ROW],
        "left_out": Each(TEXT),
        "hard_splits?": [_SPLIT],
    },
)
"""Kind of a `result.json` of `todre eval`."""
