"""transformers' server as todre uses it, and the check that it is known.

Taken from it: the application with its request ids, health page and end of life; the model manager; the thread on
which a model's answers are generated one after another. Its own reading of requests is not used, because it opens
files and addresses for clients, drops parameters, and leaves what it does not say to the checkpoint. Seen in 5.18 and
5.24; nothing else of todre touches what is inside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import transformers

from todre.errors import ContractError, MissingDependencyError
from todre.hf.versions import REQUIRED
from todre.loading.model import Loaded

KEPT_PATHS = ("/health",)
"""Paths of transformers' server that stay.

Its others read files, load any model, or would answer unpruned.
"""

try:
    from transformers.cli.serving.model_manager import ModelManager
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.utils import GenerateManager, GenerationState
except (ImportError, NameError) as error:
    missing = isinstance(error, ImportError) and (error.name or "").partition(".")[0] in (
        "fastapi",
        "uvicorn",
        "openai",
    )
    if missing:
        raise MissingDependencyError(
            f"A server needs packages that are absent ({error}); install them: pip install 'todre[serve]'."
        ) from error
    raise ContractError(
        f"todre does not understand the server of transformers {transformers.__version__} ({error}). Install a release "
        f"that is tested: pip install '{REQUIRED}'."
    ) from error


class ServedModel(ModelManager):
    """A manager of one model, which stays until the server ends.

    `todre.loading.load` loaded it.

    Args:
        loaded: the model.
        on_end: called when the server ends.
    """

    def __init__(self, loaded: Loaded, on_end: Callable[[], None]) -> None:
        super().__init__(device=str(loaded.device))
        self._loaded, self._on_end = loaded, on_end

    def load_model_and_processor(self, *names: Any, **options: Any) -> tuple[Any, Any]:
        """The one model and its processor, whatever name is asked for."""
        return self._loaded.model, self._loaded.processor

    def shutdown(self) -> None:
        """End what the server does with the model."""
        self._on_end()


def check_server() -> None:
    """Check that transformers' server is as todre knows it, before a model is loaded.

    Raises:
        ContractError: it is not.
    """
    _arguments(None)
    _check_thread()


def base_application(served: ServedModel) -> Any:
    """transformers' application (FastAPI) with none but its `KEPT_PATHS`.

    Raises:
        ContractError: the release builds its application in another way.
    """
    application = build_server(**_arguments(served))
    application.router.routes[:] = [
        route for route in application.router.routes if getattr(route, "path", "") in KEPT_PATHS
    ]
    if len(application.router.routes) != len(KEPT_PATHS):
        raise _contract_error(f"its application has no {' or '.join(KEPT_PATHS)}")
    return application


def _arguments(served: ServedModel | None) -> dict[str, Any]:
    """Arguments of `build_server`; the routes of handlers that are None are taken off."""
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(build_server).parameters.items():
        if name == "model_manager":
            arguments[name] = served
        elif name == "generation_state":
            arguments[name] = GenerationState()
        elif name.endswith("_handler"):
            arguments[name] = None
        elif parameter.default is inspect.Parameter.empty:
            raise _contract_error(f"build_server has a parameter {name!r}")
    absent = {"model_manager", "generation_state"} - arguments.keys()
    if absent:
        raise _contract_error(f"build_server has no parameter {min(absent)!r}")
    return arguments


def generation_thread() -> Callable[[Callable[[], None]], None]:
    """A function that runs its argument on one thread, call after call.

    The argument must not raise. The future that transformers makes is not handed on, because cancelling it would end
    the thread (seen in 5.24).

    Raises:
        ContractError: the release has no such thread.
    """
    _check_thread()
    manager = GenerateManager()

    def submit(work: Callable[[], None]) -> None:
        manager.submit(work)

    return submit


def _check_thread() -> None:
    if not callable(getattr(GenerateManager, "submit", None)):
        raise _contract_error("GenerateManager has no method 'submit'")


def _contract_error(what: str) -> ContractError:
    return ContractError(
        f"todre does not understand the server of transformers {transformers.__version__}: {what}. Install a release "
        f"that is tested: pip install '{REQUIRED}'."
    )
