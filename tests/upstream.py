"""What is wrong in some of the supported releases of transformers themselves, so that tests say what they expect there.

Each row names the first release that is right, and the first that was wrong if an earlier one was not. Between them the
test must fail, and elsewhere it must pass: nothing is skipped, and a row that is no longer true is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import transformers
from packaging.version import Version

RELEASE = Version(transformers.__version__)

CACHE = "cache" if Version("5.24") <= RELEASE else "past_key_values"
"""What forwards call their KV cache, and their output's attribute."""


@dataclass(frozen=True)
class Defect:
    """Something that transformers does wrong from release `since` on, before release `right`."""

    right: str
    what: str
    since: str = "0"

    @property
    def here(self) -> bool:
        """Whether the installed release has it."""
        return Version(self.since) <= RELEASE < Version(self.right)

    @property
    def mark(self) -> pytest.MarkDecorator:
        """For a test of what this breaks: it fails where the defect is, and nowhere else."""
        return pytest.mark.xfail(self.here, reason=f"before transformers {self.right}, {self.what}", strict=True)


BEAMS = Defect("5.19", "beams of a sample with several pictures get them in the wrong order")
CHECKPOINTS = Defect("5.23", "checkpointed layers run again without what stands in for their forward")
CHUNKS = Defect("5.23", "a chunked prefill leaves the pictures out, so there is nothing to refuse")

CLIPS: dict[str, Defect] = {
    "cohere_compass": Defect("5.19", "generate() refuses clips, because the model does not list them"),
}
"""By model type: what is wrong with clips, however many."""

BATCHES: dict[tuple[str, str], Defect] = {
    ("gemma4", "video"): Defect("5.19", "clips of several lengths cannot go into one batch"),
    ("hunyuan_vl", "image"): Defect("5.20", "all pictures of a batch come back as one, which cannot be told apart"),
    ("minicpmv4_6", "image"): Defect("5.19", "pictures of several sizes cannot go into one batch"),
}
"""By model type and kind of medium: what is wrong with ragged batches."""


PICTURES: dict[str, Defect] = {
    "llama4": Defect("6", "Llama 4 asks its decoder's output for `image_outputs`, which it has not", since="5.24"),
}
"""By model type: what is wrong with every picture. No release that is right is known yet; one will be noticed."""


def defect_of(model_type: str, kind: str) -> Defect | None:
    """What is wrong with batches of a kind of medium."""
    clips = CLIPS.get(model_type) if kind == "video" else None
    return PICTURES.get(model_type) or clips or BATCHES.get((model_type, kind))
