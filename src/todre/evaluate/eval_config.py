"""Configuration of `todre eval`: the questions and the model of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.environment import versions
from todre.evaluate.runner import model_sha256, revision_of
from todre.evaluate.tasks import Item, Task, tasks_of
from todre.evaluate.tasks.local import LocalTask
from todre.fields import Checked
from todre.fields.kinds import Count, Seed
from todre.methods.guard import Guard

if TYPE_CHECKING:
    from todre.loading.model import Loaded


@dataclass(frozen=True)
class EvalConfig(Checked):
    """Questions and model of a run: all that an answer depends on, except the method.

    Args:
        tasks: names, groups, and files of JSON lines.
        model: folder or hub id; None for the model that ships.
        limit: number of questions of each task; None means the task's own number.
        seed: seed of the generated questions and of the bootstrap.
        size: side of the scenes' pictures in pixels.
        group_size: number of pictures answered together; random methods draw anew for each group.
        batch_size: most rows of one forward.
        guard: fields of a `todre.Guard` that looks at each picture; None for no guard.
        device, dtype, attn_implementation, trust_remote_code: as `todre.loading.model.load` takes them.
    """

    tasks: tuple[str, ...]
    model: str | None = None
    limit: Count | None = None
    seed: Seed = 0
    size: Count = 192
    group_size: Count = 16
    batch_size: Count = 48
    guard: dict[str, Any] | None = None
    device: str = "auto"
    dtype: str = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guard is not None:
            Guard.from_dict(self.guard)

    def items(self) -> list[Item]:
        """All questions, task by task, with a name for each picture."""
        tasks = tasks_of(self.tasks, self.size)
        return told_apart([(task, task.items(self.limit, self.seed)) for task in tasks])

    def files(self) -> Iterator[str | Path | None]:
        """Files that the run reads: the model's folder, question files and pictures."""
        yield self.model
        for task in tasks_of(self.tasks, self.size):
            if isinstance(task, LocalTask):
                yield from task.files(self.limit)

    def load(self) -> Loaded:
        """Load the model and its processor."""
        from todre.loading.model import load

        return load(
            self.model,
            device=self.device,
            dtype=self.dtype,
            attn_implementation=self.attn_implementation,
            trust_remote_code=self.trust_remote_code,
        )

    def conditions(self, items: Sequence[Item]) -> dict[str, Any]:
        """Header of the working file, ready for JSON, with devices and dtypes resolved."""
        from todre.loading.model import as_device, as_dtype

        digest = hashlib.sha256(json.dumps([item.facts() for item in items]).encode()).hexdigest()
        fields = asdict(self) | {"model": self.model or "todre-tiny", "tasks": list(self.tasks)}
        if self.guard is None:  # as it is in runs from before there was a guard
            del fields["guard"]
        device = as_device(self.device)
        precision = str(as_dtype(self.dtype, device)).removeprefix("torch.")
        fields |= {"device": str(device), "dtype": precision}
        commit = revision_of(self.model)
        fields |= {} if commit is None else {"revision": commit}
        return {**fields, "model_sha256": model_sha256(self.model), "questions": digest, "versions": versions()}


def told_apart(tasks: Sequence[tuple[Task, Sequence[Item]]]) -> list[Item]:
    """The items of all tasks, in order.

    Files name their pictures relative to their own folders. Where a name stands for pictures in several folders, the
    first task of each folder is put before it.
    """
    homes: dict[str, dict[Path | None, str]] = {}
    for task, items in tasks:
        for item in items:
            homes.setdefault(item.picture, {}).setdefault(_folder(task), task.name)
    found = []
    for task, items in tasks:
        home = _folder(task)
        for item in items:
            owners = homes[item.picture]
            several = home is not None and len(owners) > 1
            found.append(dataclasses.replace(item, picture=f"{owners[home]}:{item.picture}") if several else item)
    return found


def _folder(task: Task) -> Path | None:
    """The folder that a task's pictures are named in; None for generated ones."""
    return task.file.resolve().parent if isinstance(task, LocalTask) else None
