"""Names of a CLIP tower's weights in files, which differ between releases.

Releases from 5.23 on write `vision_tower.encoder.…`; checkpoints on the hub, earlier releases and other engines have
`vision_tower.vision_model.encoder.…`, which every release reads.
"""

from __future__ import annotations

_TOWER, _INNER = "vision_tower.", "vision_model."


def with_inner_name(name: str) -> str:
    """The name of a weight as checkpoints on the hub have it."""
    before, tower, after = name.rpartition(_TOWER)
    if not tower or after.startswith(_INNER):
        return name
    return before + tower + _INNER + after
