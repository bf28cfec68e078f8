"""Write what a run trained as the part file that ships."""

from __future__ import annotations

from pathlib import Path

import torch

from todre.smol.part import Part, write_part
from todre.smol.pinned import PINNED
from todre.tiny.runfiles import load_state


def export(checkpoint: Path, seed: int, target: Path) -> Part:
    """Write the trained tensors of a checkpoint as a part file, and return the part.

    Args:
        checkpoint: a stage's file in the run's directory.
        seed: seed of the run.
        target: file to write, replaced if it is there.
    """
    state = load_state(checkpoint, torch.device("cpu"))
    part = Part(state["trained"], int(state["rank"]), float(state["scale"]), seed, PINNED.gguf_sha256)
    write_part(part, target)
    target.chmod(0o644)
    return part
