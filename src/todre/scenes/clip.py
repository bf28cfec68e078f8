"""Moving scenes: one thing moves, appears or changes colour.

No single frame answers the question about a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from todre.clips.source import require_av
from todre.errors import InvalidValueError
from todre.files import atomic_path
from todre.scenes.background import BACKGROUNDS, paint_background
from todre.scenes.draw import draw_objects
from todre.scenes.layout import sample_objects
from todre.scenes.objects import Question, SceneObject
from todre.scenes.questions import unique_pairs
from todre.scenes.scene import absolute_seed, scene_size
from todre.scenes.vocabulary import COLOURS, SHAPES

EVENTS: tuple[str, ...] = ("moves", "appears", "changes")
WAYS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
"""Direction of motion → steps in x and y; y points down."""

_TAG = 0xC11B
"""Extra seed, so that a clip and the scene of equal seed differ."""


@dataclass(frozen=True)
class SceneClip:
    """A rendered clip and its true content.

    Args:
        seed, split: what `make_clip` was called with.
        frames: the pictures, RGB.
        objects: for each frame, everything drawn in it, in drawing order; the actor, if present, is last.
        event: what the actor does, one of `EVENTS`.
        turn: the first frame that differs from frame 0.
        questions: questions about the clip, with true answers that follow from `objects`.
    """

    seed: int
    split: str
    frames: tuple[Image.Image, ...]
    objects: tuple[tuple[SceneObject, ...], ...]
    event: str
    turn: int
    questions: list[Question]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.frames[0].size


def make_clip(
    seed: int, frames: int = 8, size: int | tuple[int, int] = 192, split: str = "train", event: str | None = None
) -> SceneClip:
    """Render the clip that belongs to a seed.

    Equal arguments give equal pixels and questions. The still things and the background are the same in all frames; the
    actor is a shape drawn over everything else, and no other shape has both its colour and its form.

    Args:
        seed: 0 ≤ seed < 2**40, as for `make_scene`.
        frames: at least 2.
        size: side of a square picture, or (width, height), in pixels.
        split: "train", "val" or "test".
        event: one of `EVENTS`; None draws one.

    Raises:
        InvalidValueError: a seed, split, size, event or number of frames is not valid.
    """
    rng, event, objects, turn = _plot(seed, frames, size, split, event)
    width, height = scene_size(size)
    background = paint_background(rng, BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))], width, height)
    shades = int(rng.integers(2**32))
    pictures = tuple(_render(background, things, shades) for things in objects)
    return SceneClip(seed, split, pictures, objects, event, turn, ask_clip(objects, event))


def clip_objects(
    seed: int, frames: int = 8, size: int | tuple[int, int] = 192, split: str = "train", event: str | None = None
) -> tuple[str, tuple[tuple[SceneObject, ...], ...]]:
    """The event, and the things that `make_clip` would draw in each frame.

    This function draws nothing. Arguments are as for `make_clip`.
    """
    _, happens, objects, _ = _plot(seed, frames, size, split, event)
    return happens, objects


def _plot(
    seed: int, frames: int, size: int | tuple[int, int], split: str, event: str | None
) -> tuple[np.random.Generator, str, tuple[tuple[SceneObject, ...], ...], int]:
    """The content of a clip, before anything is drawn.

    Returns:
        The generator to draw with, the event, the things of each frame, and the number of the first frame that differs
        from frame 0.
    """
    width, height = scene_size(size)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 2:
        raise InvalidValueError(f"a clip has at least 2 frames, not {frames!r}")
    if event is not None and event not in EVENTS:
        raise InvalidValueError(f"there is no event named {event!r}; use one of {', '.join(EVENTS)}")
    rng = np.random.default_rng([absolute_seed(seed, split), width, height, _TAG])
    drawn = EVENTS[int(rng.integers(len(EVENTS)))]
    event = event or drawn
    still, actor = _cast(rng, width, height)
    acts, turn = _act(rng, event, actor, frames, width, height)
    objects = tuple(still if act is None else (*still, act) for act in acts)
    return rng, event, objects, turn


def ask_clip(objects: Sequence[Sequence[SceneObject]], event: str) -> list[Question]:
    """The question that a clip's event answers.

    Args:
        objects: for each frame, everything drawn in it, the actor last; the first and the last frame are read.
        event: what the actor does, one of `EVENTS`.
    """
    first, last = objects[0], objects[-1][-1]
    if event == "appears":
        pairs = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
        return [Question("appears", "What appears?", last.name, pairs)]
    if event == "changes":
        text = f"What color does the {first[-1].name} become?"
        return [Question("changes", text, last.colour, tuple(COLOURS))]
    across, down = last.x - first[-1].x, last.y - first[-1].y
    step = (int(np.sign(across)), 0) if abs(across) > abs(down) else (0, int(np.sign(down)))
    way = next(name for name, unit in WAYS.items() if unit == step)
    return [Question("moves", f"Which way does the {last.name} move?", way, tuple(WAYS))]


def write_mp4(frames: Sequence[Image.Image], path: str | Path, fps: float = 8.0) -> None:
    """Write pictures of one size as an MP4 file, whole or not at all.

    The codec is H.264, or MPEG-4 where there is no H.264 encoder.

    Raises:
        InvalidValueError: no frames, frames of several sizes, or a frame rate that is not positive.
        MissingDependencyError: PyAV is not installed.
    """
    require_av()
    import av

    if not frames or len({frame.size for frame in frames}) > 1:
        raise InvalidValueError(f"a clip is written from pictures of one size, not from {len(frames)} of several")
    if not 0 < fps < float("inf"):
        raise InvalidValueError(f"fps must be a positive number, not {fps!r}")
    width, height = frames[0].size
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if codec == "libx264" and (width % 2 or height % 2) else "yuv420p"
        stream.options = {"crf": "12"} if codec == "libx264" else {"qmin": "2", "qmax": "2"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame.convert("RGB"))))
        container.mux(stream.encode())


def _cast(rng: np.random.Generator, width: int, height: int) -> tuple[tuple[SceneObject, ...], SceneObject]:
    """The still things, and the actor: the only shape of its colour and form."""
    while True:  # a scene without a shape of that kind is rare
        objects = sample_objects(rng, width, height)
        alone = unique_pairs(objects)
        if alone:
            actor = alone[int(rng.integers(len(alone)))]
            return tuple(thing for thing in objects if thing is not actor), actor


def _act(
    rng: np.random.Generator, event: str, actor: SceneObject, frames: int, width: int, height: int
) -> tuple[list[SceneObject | None], int]:
    """The actor in each frame (None where it is absent), and the turn.

    The turn is the number of the first frame that differs from frame 0.
    """
    turn = int(rng.integers(1, frames))
    acts: list[SceneObject | None] = [actor] * frames
    if event == "appears":
        acts[:turn] = [None] * turn
        return acts, turn
    if event == "changes":
        others = [colour for colour in COLOURS if colour != actor.colour]
        after = replace(actor, colour=others[int(rng.integers(len(others)))])
        acts[turn:] = [after] * (frames - turn)
        return acts, turn
    way = list(WAYS.values())[int(rng.integers(len(WAYS)))]
    margins = (actor.half_width + 2, actor.half_height + 2)
    start, end = [actor.x, actor.y], [actor.x, actor.y]
    for axis, side in enumerate((width, height)):
        if way[axis]:  # along its way, from the near third to the far third
            near = float(rng.uniform(margins[axis], side / 3))
            far = float(rng.uniform(2 * side / 3, side - margins[axis]))
            start[axis], end[axis] = (near, far) if way[axis] > 0 else (far, near)
    shares = np.linspace(0.0, 1.0, frames).tolist()
    places = [[a + (b - a) * share for a, b in zip(start, end, strict=True)] for share in shares]
    acts[:] = [replace(actor, x=x, y=y) for x, y in places]
    return acts, 1


def _render(background: Image.Image, things: tuple[SceneObject, ...], shades: int) -> Image.Image:
    """A frame: the things drawn over the background.

    Equal `shades` give a thing the same shade of its colour in every frame.
    """
    picture = background.copy()
    draw_objects(np.random.default_rng(shades), picture, things)
    return picture
