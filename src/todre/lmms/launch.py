"""The command line of lmms-eval for a model and a method."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from todre.errors import InvalidValueError

_LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def command(
    tasks: Sequence[str],
    output: str | Path,
    *,
    model: str | Path | None = None,
    method: str = "none",
    retain: float | None = None,
    fields: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    batch_size: int = 1,
    limit: int | None = None,
    ranks: int = 1,
    include_path: str | Path | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    python: str | Path = sys.executable,
) -> list[str]:
    """The command line that evaluates one method at one budget, program first.

    lmms-eval ends with 0 even where the evaluation itself failed; `read_results` raises then.

    Args:
        tasks: names of lmms-eval's tasks, or files of the user's own tasks.
        output: folder for the results, a separate one for each run; `read_results` reads it.
        model: folder or hub id; None for the shipped model.
        method: a registered name, or a JSON file of a method.
        retain: the budget, a fraction or a count; None for the method's own.
        fields: other settings of the method.
        options: `device`, `dtype`, `attn_implementation`, `revision`, `trust_remote_code`, `frames`, `group_size`.
        batch_size: questions answered together by each rank.
        limit: questions of each task, over all ranks.
        ranks: processes that share the questions, each with a model.
        include_path: folder of further tasks.
        gen_kwargs: settings of generation that replace the tasks' own.
        python: the Python of the environment that has lmms-eval and todre.

    Raises:
        InvalidValueError: there is no task, or lmms-eval's command line cannot hold a value.
    """
    if not tasks:
        raise InvalidValueError("No task is named; give names that `lmms-eval tasks` lists, such as pope.")
    for name, value in (("batch_size", batch_size), ("ranks", ranks), ("limit", 1 if limit is None else limit)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
    model_args: dict[str, Any] = {"pretrained": "todre-tiny" if model is None else model, "method": method}
    model_args |= {} if retain is None else {"retain": retain}
    started = [str(python), *(_LAUNCHER if ranks > 1 else ()), *([str(ranks)] if ranks > 1 else ())]
    arguments = [*started, "-m", "lmms_eval", "--model", "todre"]
    arguments += ["--model_args", join_arguments({**model_args, **(fields or {}), **(options or {})})]
    arguments += ["--tasks", ",".join(tasks), "--batch_size", str(batch_size)]
    arguments += [] if limit is None else ["--limit", str(limit)]
    arguments += [] if include_path is None else ["--include_path", str(include_path)]
    arguments += [] if gen_kwargs is None else ["--gen_kwargs", join_arguments(gen_kwargs)]
    return [*arguments, "--output_path", str(output), "--log_samples"]


def join_arguments(values: Mapping[str, Any]) -> str:
    """Arguments as one text that lmms-eval can parse, such as `a=1,b=[0.5,0.75]`.

    Raises:
        InvalidValueError: lmms-eval would split a text, or read it as something else.
    """
    return ",".join(f"{name}={_text(name, value)}" for name, value in values.items())


def _read_as_another(text: str) -> bool:
    """Whether lmms-eval makes something else of it: of 2.10 it makes 2.1."""
    if text.lower() in ("true", "false") or text.isnumeric():
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(name: str, value: Any) -> str:
    if isinstance(value, str | Path):
        text = str(value)
        if not text.strip() or any(mark in text for mark in ",\"'[]{}"):
            raise InvalidValueError(
                f"{name} is {text!r}, and lmms-eval takes no empty text there, and none with commas, quotes or "
                "brackets; rename it."
            )
        if _read_as_another(text):
            raise InvalidValueError(
                f"{name} is {text!r}, which lmms-eval reads as a number or a truth value; give a path, or a commit."
            )
        return text
    return json.dumps(list(value) if isinstance(value, tuple) else value, separators=(",", ":"))
