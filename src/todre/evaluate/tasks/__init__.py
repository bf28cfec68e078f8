"""Tasks by name: on rendered scenes and pages, and JSON Lines files of questions.

A module belongs here if it makes `Item`s (`base`): questions with pictures, references and a metric.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from todre.errors import InvalidValueError
from todre.evaluate.tasks.base import Item, Task
from todre.evaluate.tasks.local import LocalTask
from todre.evaluate.tasks.mme import ScenesMme
from todre.evaluate.tasks.pages import PAGES, PageTask
from todre.evaluate.tasks.pope import ScenesPope
from todre.evaluate.tasks.scenes import PREFIX, SceneTask
from todre.evaluate.tasks.screens import AS_CLIPS, AS_PICTURES, CLIPS, SCREENS, ScreensTask
from todre.evaluate.tasks.several import MULTI, SIDE, VIDEO, ClipTask, SetTask
from todre.evaluate.tasks.wordings import WORDINGS, WordingTask
from todre.pages import PAGE_TASKS
from todre.scenes import TASKS, WORDED
from todre.scenes.motion import CLIP_TASKS
from todre.scenes.several import SET_TASKS

__all__ = ["GROUPS", "SEVERAL", "Item", "Task", "names", "tasks_of"]

SUFFIX = ".jsonl"
_SCENES = tuple(PREFIX + task for task in TASKS)
SEVERAL = (*(MULTI + task for task in SET_TASKS), *(VIDEO + task for task in CLIP_TASKS))
"""All tasks on several pictures and on clips, near-chance tasks included.

The shipped model answers near-chance tasks hardly better than by guessing.
"""
_AT_CHANCE = ("colour", "shape", "digit", "moving")
_MULTI = tuple(MULTI + task for task in SET_TASKS if task not in _AT_CHANCE)
_VIDEO = tuple(VIDEO + task for task in CLIP_TASKS if task not in _AT_CHANCE)
_WORDINGS = tuple(WORDINGS + task for task in WORDED)
_PAGES = tuple(PAGES + task for task in PAGE_TASKS)
_SCREENS = tuple(SCREENS + task for task in AS_PICTURES)
_SCREEN_CLIPS = tuple(CLIPS + task for task in AS_CLIPS)
GROUPS: dict[str, tuple[str, ...]] = {
    "scenes": _SCENES,
    "scenes-multi": _MULTI,
    "scenes-video": _VIDEO,
    "wordings": _WORDINGS,
    "pages": _PAGES,
    "screens": _SCREENS,
    "screens-clip": _SCREEN_CLIPS,
}
"""Names of groups, and the tasks in each."""


def names() -> tuple[str, ...]:
    """Every named task; a file of questions ends in `.jsonl`."""
    return (*_SCENES, PREFIX + "pope", PREFIX + "mme", *SEVERAL, *_WORDINGS, *_PAGES, *_SCREENS, *_SCREEN_CLIPS)


def tasks_of(specs: Sequence[str], size: int = 192) -> tuple[Task, ...]:
    """The tasks of names, groups and files, in order.

    Args:
        specs: names, groups (keys of `GROUPS`), and files of JSON lines.
        size: side of the scenes' pictures in pixels; for tasks on several pictures, on screens or on clips it is at
            most 96.

    Raises:
        InvalidValueError: a name is unknown, two tasks have the same name, or pages do not come in that size.
    """
    found = [_task(name, size) for each in specs for name in GROUPS.get(each, (each,))]
    if not found:
        raise InvalidValueError(f"No task is named; use some of {_all()}.")
    twice = [task.name for place, task in enumerate(found) if task.name in {other.name for other in found[:place]}]
    if twice:
        raise InvalidValueError(f"Two tasks have the name {twice[0]!r}; name each once, or rename a file.")
    return tuple(found)


def _task(name: str, size: int) -> Task:
    if name.endswith(SUFFIX):
        return LocalTask(Path(name))
    if name == PREFIX + "pope":
        return ScenesPope(size)
    if name == PREFIX + "mme":
        return ScenesMme(size)
    if name in _SCENES:
        return SceneTask(name.removeprefix(PREFIX), size)
    if name in _WORDINGS:
        return WordingTask(name.removeprefix(WORDINGS), size)
    if name in _PAGES:
        return PageTask(name.removeprefix(PAGES), size)
    if name in _SCREENS:
        return ScreensTask(kind=name.removeprefix(SCREENS), size=min(size, SIDE))
    if name in _SCREEN_CLIPS:
        return ScreensTask(kind=name.removeprefix(CLIPS), video=True, size=min(size, SIDE))
    if name in SEVERAL and name.startswith(MULTI):
        return SetTask(name.removeprefix(MULTI), min(size, SIDE))
    if name in SEVERAL:
        return ClipTask(name.removeprefix(VIDEO), min(size, SIDE))
    close = difflib.get_close_matches(name, [*GROUPS, *names()], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InvalidValueError(f"There is no task {name!r}; {hint}use some of {_all()}.")


def _all() -> str:
    return f"{', '.join([*GROUPS, *names()])}, or a file of JSON lines that ends in {SUFFIX}"
