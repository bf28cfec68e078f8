"""Configurations of the engines that todre serves with: the baseline, and methods."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from todre.bench.load.configurations import MODEL, PORT, Configuration
from todre.bench.load.servers import HOST
from todre.errors import InvalidValueError, LoadError
from todre.files import printable

Engine = Literal["transformers", "vllm"]
ENGINES: tuple[str, ...] = get_args(Engine)
NONE = "none"
WORKER = "todre.bench.load.vllm_worker.EncoderTimes"

ALL = ("--retain", "1.0", "--max-retain", "1.0", "--per-request")
"""Options of `todre vllm-args` for a server whose requests bring budgets."""
MOST_WAITING = 10_000
"""Requests that wait at a server of todre before it refuses more."""
VLLM_FLAGS = (
    *("--no-enable-prefix-caching", "--mm-processor-cache-gb", "0", "--disable-uvicorn-access-log"),
    *("--worker-extension-cls", WORKER),
)
"""Flags of every vLLM server: no cache of answers, and a timed vision tower."""
VLLM_ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
VLLM_CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_CI_ENV": "1",
}
"""Variables of a vLLM server on the CPU: a KV cache of 2 GiB, no bound cores."""


@dataclass(frozen=True)
class Subject:
    """A method at a budget; `none` has no budget.

    Attributes:
        method: a method's name, or a JSON file of a method.
        retain: the budget, a share or a count; None for the method's own.
    """

    method: str
    retain: float | None = None

    @property
    def name(self) -> str:
        """The subject's name in results."""
        return self.method if self.retain is None else f"{self.method}@{self.retain:g}"

    def options(self) -> list[str]:
        """Options of `todre serve` and `todre vllm-args`."""
        return ["--method", self.method, *([] if self.retain is None else ["--retain", str(self.retain)])]


@dataclass(frozen=True)
class Launch:
    """How servers are started.

    Attributes:
        python: the Python that has the engine.
        model: folder or hub id, as `todre vllm-args` is asked about it.
        dtype: dtype of the weights.
        device: `cpu` or `cuda`.
        environment: more variables.
        options: more options of each server.
        one_server: vLLM only: whether one server answers all configurations, each with its budget in the request.
    """

    python: str = sys.executable
    model: str = MODEL
    dtype: str = "bfloat16"
    device: str = "cpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    one_server: bool = False


Flags = Callable[[Launch, Sequence[str]], list[str]]
"""Function of (launch, options) that returns the flags of `todre vllm-args`."""


def subjects_of(methods: Sequence[str], retains: Sequence[float]) -> list[Subject]:
    """No pruning, and every method at every budget."""
    budgets: Sequence[float | None] = retains or (None,)
    chosen = [Subject(method, retain) for method in methods if method != NONE for retain in budgets]
    return [Subject(NONE), *chosen]


def transformers_configurations(launch: Launch, subjects: Sequence[Subject]) -> list[Configuration]:
    """Configurations of `todre serve`, a server for each subject."""
    start = [launch.python, "-m", "todre", "serve", MODEL, "--host", HOST, "--port", PORT, "--device", launch.device]
    start += ["--dtype", launch.dtype, "--max-waiting", str(MOST_WAITING), *launch.options]
    return [
        Configuration(
            name=each.name,
            command=(*start, *each.options()),
            environment=dict(launch.environment),
            tower="metrics",
        )
        for each in subjects
    ]


def vllm_configurations(launch: Launch, subjects: Sequence[Subject], flags: Flags | None = None) -> list[Configuration]:
    """Configurations of vLLM's server: without todre for `none`, else with its plugin.

    Args:
        launch: how servers are started.
        subjects: what is compared.
        flags: asks `todre vllm-args` for the flags of a method.

    Raises:
        InvalidValueError: one server is to answer several methods, or one without a budget.
    """
    if launch.one_server:
        check_one_server(subjects)
    asked = flags or printed_flags
    start = [launch.python, "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL]
    start += ["--host", HOST, "--port", PORT, "--dtype", launch.dtype, *VLLM_FLAGS, *launch.options]
    environment = {**VLLM_ENVIRONMENT, **(VLLM_CPU_ENVIRONMENT if launch.device == "cpu" else {}), **launch.environment}
    found: list[Configuration] = []
    for each in subjects:
        body: dict[str, Any] = {"ignore_eos": True}
        more: list[str] = []
        if launch.one_server:
            of_all = next((one for one in subjects if one.method != NONE), each)
            more = asked(launch, ["--method", of_all.method, *ALL])
            body["mm_processor_kwargs"] = {"todre_retain": 1.0 if each.retain is None else each.retain}
        elif each.method != NONE:
            more = asked(launch, each.options())
        found.append(
            Configuration(name=each.name, command=(*start, *more), environment=environment, body=body, tower="vllm")
        )
    return found


def check_one_server(subjects: Sequence[Subject]) -> None:
    """Raise unless requests to one server tell the subjects apart by budgets alone.

    Raises:
        InvalidValueError: there are several methods, or one without a budget.
    """
    methods = list(dict.fromkeys(each.method for each in subjects if each.method != NONE))
    if len(methods) > 1:
        raise InvalidValueError(
            f"One server answers by one method, and {printable(', '.join(methods))} were given; name one of them, or "
            "start a server for each."
        )
    without = next((each.method for each in subjects if each.method != NONE and each.retain is None), None)
    if without is not None:
        raise InvalidValueError(
            f"One server takes its budget from each request, and {printable(without)} has none here; give a budget, or "
            "start a server for each."
        )


def printed_flags(launch: Launch, options: Sequence[str]) -> list[str]:
    """Flags that `todre vllm-args` prints, without the model before them.

    It runs in the server's Python.

    Raises:
        LoadError: the command fails.
    """
    command = [launch.python, "-m", "todre", "vllm-args", launch.model, *options]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=_with(launch.environment), timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"{printable(launch.python)} cannot be run ({error}); give a Python that has vLLM.") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise LoadError(f"`todre vllm-args` failed ({printable(lines[-1])}); run it by hand to see more.")
    return shlex.split(done.stdout)[1:]


def _with(environment: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **environment}
