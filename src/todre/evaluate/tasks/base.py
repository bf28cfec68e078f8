"""The form of a task: a name, a metric, and items with pictures and references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

Open = Callable[[], Image.Image]


@dataclass(frozen=True)
class Item:
    """One question.

    Args:
        task: the task's name.
        id: unique within the task.
        picture: name of the picture; questions about one picture are not independent, and share its encoding.
        media: functions that load the pictures (RGB), at least one, in the order of the prompt.
        question: plain text; the model's chat template puts it into a prompt.
        references: true answers, at least one; for VQA accuracy, one answer from each annotator.
        metric: name in `todre.evaluate.metrics.MARKS`.
        kind: POPE's strategy, MME's category, or whatever the score is broken down by.
        pair: name of the MME pair that the question belongs to.
        new_tokens: most tokens of an answer, the closing token included.
        video: whether the pictures are the frames of one clip, in order.
    """

    task: str
    id: str
    picture: str
    media: tuple[Open, ...]
    question: str
    references: tuple[str, ...]
    metric: str
    kind: str = ""
    pair: str = ""
    new_tokens: int = 16
    video: bool = False

    def facts(self) -> dict[str, Any]:
        """Every field but the pictures themselves, ready for JSON."""
        values: dict[str, Any] = {"task": self.task, "id": self.id, "picture": self.picture, "question": self.question}
        values |= {"references": list(self.references), "metric": self.metric, "new_tokens": self.new_tokens}
        values |= {"video": True} if self.video else {}
        return values | ({"kind": self.kind} if self.kind else {}) | ({"pair": self.pair} if self.pair else {})


class Task(Protocol):
    """Questions of one kind with one metric."""

    @property
    def name(self) -> str:
        """The task's name in results."""
        ...

    @property
    def metric(self) -> str:
        """The metric of all items, a name in `todre.evaluate.metrics.MARKS`."""
        ...

    def items(self, limit: int | None, seed: int) -> Sequence[Item]:
        """The first questions, the same at each call.

        Args:
            limit: number of questions; None means all, or the task's own number. A smaller limit gives the first
                questions of a larger limit.
            seed: seed that chooses the questions of generated tasks.
        """
        ...
