"""Write what a run trained as the part file that ships."""

from __future__ import annotations

from pathlib import Path

from todre.smol.part import Part, write_part
from todre.smol.training.checkpoints import read_checkpoint


def export(checkpoint: Path, target: Path) -> Part:
    """Write the trained tensors of a checkpoint as a part file, and return the part.

    Rank, scale, seed and the decoder's hash are what the checkpoint says.

    Args:
        checkpoint: a stage's file in the run's directory.
        target: file to write, replaced if it is there.

    Raises:
        InvalidValueError: the checkpoint is not there, or does not say how it was trained.
        OutputError: the file cannot be written.
    """
    state = read_checkpoint(checkpoint)
    facts = state["facts"]
    part = Part(state["trained"], facts["rank"], facts["scale"], facts["seed"], facts["base_sha256"])
    write_part(part, target)
    target.chmod(0o644)
    return part
