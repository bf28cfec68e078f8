"""Runs of `todre bench`: one model, methods and cells, measured into a document."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from todre.bench import document as doc
from todre.bench.cell import measure
from todre.bench.conditions import machine
from todre.bench.method_specs import MethodSpec
from todre.bench.presets import Preset
from todre.bench.prompts import Prompt, checkpoint_prompt, random_prompt
from todre.bench.random_models import build
from todre.bench.settings import Cell, Rounds
from todre.bench.smaller_preset import smaller_preset
from todre.bench.subjects import Tick, refusals
from todre.errors import InvalidValueError
from todre.methods.base import Method
from todre.shipped import folder_sha256

if TYPE_CHECKING:
    from todre.loading.model import Loaded

PICTURE = (672, 672)
"""Size of the picture that a checkpoint is asked about: (height, width) in pixels."""


@dataclass(frozen=True)
class Source:
    """Model of a run.

    Attributes:
        model: the model.
        origin: the preset that it has the shape of, with random weights, or the checkpoint.
        seed: of random weights and prompts.
        exact_text: whether a checkpoint's template that is longer than a cell's text is refused. If not, rows say how
            long the text was.
    """

    model: Any
    origin: Preset | Loaded
    seed: int = 0
    exact_text: bool = False

    def prompt(self, cell: Cell) -> Prompt:
        """The prompt of a cell.

        Raises:
            InvalidValueError: the cell's text is shorter than what a prompt always holds.
        """
        if isinstance(self.origin, Preset):
            return random_prompt(self.model, self.origin, cell.batch, cell.text_tokens, self.seed)
        prompt = checkpoint_prompt(self.origin, PICTURE, cell.batch, cell.text_tokens, self.seed)
        if self.exact_text and prompt.text_tokens > cell.text_tokens:
            raise InvalidValueError(
                f"A prompt of {cell.text_tokens} text tokens is shorter than the template of {self.origin.name} and "
                f"the question; give at least {prompt.text_tokens}."
            )
        return prompt

    def smaller(self, cell: Cell, method: Method) -> Prompt:
        """The prompt of a cell with the picture in the size that a method chooses.

        Raises:
            UnsupportedModelError: the model makes equally many tokens of every picture, or how many is not known.
            UnsupportedInputError: no smaller size meets the budget.
        """
        if isinstance(self.origin, Preset):
            small = smaller_preset(self.model, self.origin, method)
            return random_prompt(self.model, small, cell.batch, cell.text_tokens, self.seed)
        return checkpoint_prompt(self.origin, PICTURE, cell.batch, cell.text_tokens, self.seed, method)

    def facts(self) -> dict[str, Any]:
        """Facts about the model for the result, ready for JSON."""
        origin = self.origin
        weights = list(self.model.parameters())
        return {
            "name": origin.name,
            "weights": "random" if isinstance(origin, Preset) else "checkpoint",
            "revision": None if isinstance(origin, Preset) else origin.revision,
            "model_type": self.model.config.model_type,
            "parameters": sum(weight.numel() for weight in weights),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "picture": list(origin.picture if isinstance(origin, Preset) else PICTURE),
            "seed": self.seed,
            **({} if isinstance(origin, Preset) or origin.revision else {"sha256": folder_sha256(origin.path)}),
        }


def preset_source(preset: Preset, device: str, dtype: str, seed: int = 0) -> Source:
    """A model with random weights; dtype auto is float32 on the CPU, else bfloat16.

    Raises:
        InvalidValueError: a device or dtype is unknown or not available.
    """
    from todre.loading.model import as_device, as_dtype

    target = as_device(device)
    resolved = as_dtype(dtype, target)
    precision = resolved if isinstance(resolved, torch.dtype) else torch.bfloat16
    return Source(build(preset, target, precision, seed=seed), preset, seed)


def run(
    source: Source,
    specs: Sequence[MethodSpec],
    cells: Sequence[Cell],
    how: Rounds,
    *,
    output: Path | None = None,
    resume: bool = False,
    leave_out: bool = False,
    together: int = 0,
    command: str = "",
    extra: dict[str, Any] | None = None,
    tick: Tick = lambda what: None,
) -> doc.Document:
    """Document of a run; measures every cell and writes the document after each.

    Args:
        source: the model.
        specs: methods, besides no pruning.
        cells: conditions, in order.
        how: number of rounds.
        output: path of the document; None writes no file.
        resume: whether to continue the document at `output`, if there is one.
        leave_out: whether to note methods that do not apply, with the reason, instead of raising. Methods that resize
            pictures are always left out where no smaller size meets the budget.
        together: most methods that take turns with no pruning; if there are more, they are measured in groups. 0 means
            all together.
        command: the command line.
        extra: more conditions for the document, such as a table's name.
        tick: called with a description of each step before the step begins.

    Raises:
        InvalidValueError: the document at `output` was measured under other conditions, or a text is too short.
        TodreError: a method cannot prune this model.
    """
    conditions = {
        "model": source.facts(),
        "machine": machine(source.model.device),
        "rounds": asdict(how),
        "subjects": [{"name": each.name, **each.method.to_dict()} for each in specs],
        **(extra or {}),
    }
    going_on = resume and output is not None and output.exists()
    document = doc.resumed(output, conditions) if going_on and output else doc.new(conditions, command)
    if len({cell.text_tokens for cell in cells}) > 1:  # a text that is too short is refused before the first cell
        source.prompt(replace(min(cells, key=lambda cell: cell.text_tokens), batch=1))
    grouped = [(replace(cell, group=place), group) for cell in cells for place, group in _groups(specs, together)]
    for number, (cell, chosen) in enumerate(grouped):
        if doc.is_finished(document, cell):
            continue
        say = functools.partial(_say, tick, f"cell {number + 1} of {len(grouped)}")
        set_backend(source.model, cell.backend)
        prompt = source.prompt(cell)
        smaller = functools.partial(source.smaller, cell)
        tried = [one for one in chosen if leave_out or one.method.in_pixels]
        reasons = refusals(source.model, prompt, tried, say, smaller)
        document["left_out"] |= reasons
        chosen = [one for one in chosen if one.name not in reasons]
        doc.add(document, cell, measure(source.model, prompt, chosen, cell, how, say, smaller), output)
    return document


def _groups(specs: Sequence[MethodSpec], together: int) -> list[tuple[int, Sequence[MethodSpec]]]:
    size = together or max(len(specs), 1)
    return [(start // size, specs[start : start + size]) for start in range(0, max(len(specs), 1), size)]


def _say(tick: Tick, where: str, what: str) -> None:
    tick(f"{where}: {what}")


def set_backend(model: Any, backend: str | None) -> None:
    """Set the model's attention implementation; None leaves it as it is.

    Raises:
        InvalidValueError: the model cannot use this implementation.
    """
    if backend is None:
        return
    try:
        model.set_attn_implementation(backend)
    except (ImportError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidValueError(
            f"attention implementation {backend!r} cannot be used here ({lines[0].rstrip('.')}); use sdpa or eager."
        ) from error
