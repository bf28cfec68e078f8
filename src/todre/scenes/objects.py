"""Records of a scene: one for each thing drawn, and one for each question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SceneObject:
    """One thing in a scene.

    Args:
        kind: "shape", "digit" (a white disc with a digit), "word" (a white plate with a word) or "distractor".
        x, y: centre in pixels of the picture.
        half_width, half_height: half extents in pixels; for shapes, both are the radius.
        colour, shape, size: names from `todre.scenes.vocabulary`; empty unless `kind` is "shape".
        text: the digit, the word, or the distractor's pattern.
        angle: rotation in radians (shapes only).
    """

    kind: str
    x: float
    y: float
    half_width: float
    half_height: float
    colour: str = ""
    shape: str = ""
    size: str = ""
    text: str = ""
    angle: float = 0.0

    @property
    def name(self) -> str:
        """Colour and shape, as questions and captions write them: "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Question:
    """One question about a scene with its true answer.

    Args:
        task: name from `todre.scenes.TASKS`.
        text: the question, without any chat template.
        answer: the true answer, in the model's vocabulary.
        choices: every answer that the task can have; empty for captions.
        detail: how the question was made, to break scores down: "adversarial", "left of", "colour" …
    """

    task: str
    text: str
    answer: str
    choices: tuple[str, ...] = ()
    detail: str = ""
