"""Build a model with transformers, and fill it with a checkpoint's weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from todre.errors import InvalidValueError, LoadError, MissingDependencyError
from todre.hub import first_line


def build_network(
    name: str,
    path: Path,
    dtype: torch.dtype | str,
    attn_implementation: str | None,
    trust_remote_code: bool,
    announce: Callable[[str], None],
) -> Any:
    """The model of a checkpoint, with its weights.

    Args:
        name: what messages call the checkpoint.
        path: folder of the checkpoint.
        dtype: dtype of the weights; "auto" keeps the stored dtypes.
        attn_implementation: attention function by name; None leaves the choice to transformers.
        trust_remote_code: run Python code from the checkpoint.
        announce: called with one sentence about weights that the model has no place for.

    Raises:
        LoadError: the weights cannot be loaded, or do not fit the config.
        InvalidValueError: the attention implementation cannot be used.
    """
    from transformers import AutoModelForImageTextToText

    # transformers (5.24) puts an adapter on that lies beside the weights, and without peft leaves it out in silence.
    if (path / "adapter_config.json").exists() and importlib.util.find_spec("peft") is None:
        raise MissingDependencyError(
            f"{name} has an adapter (adapter_config.json), which needs the package peft; run `pip install peft`, or "
            "move the file away to use the model without it."
        )
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            path,
            dtype=dtype,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below with one sentence; transformers would print a table
        )
    except Exception as error:
        if attn_implementation is not None and isinstance(error, (ValueError, ImportError)):
            raise InvalidValueError(
                f"attention implementation {attn_implementation!r} cannot be used with {name} ({first_line(error)}); "
                "leave it out, or use sdpa or eager."
            ) from error
        sentence = first_line(error)
        reason = "transformers cannot convert its tensors" if "above report" in str(error) else sentence
        raise LoadError(f"The weights of {name} cannot be loaded ({reason}); get a complete copy.") from error
    _check_tensors(name, info, announce)
    return model


def _check_tensors(name: str, info: Any, announce: Callable[[str], None]) -> None:
    """Raise unless every weight of the model came from the checkpoint.

    Weights of the checkpoint that the model has no place for are announced.
    """
    missing, unused = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    mismatched = sorted(info["mismatched_keys"], key=str)
    if mismatched:
        tensor, stored, expected = mismatched[0]
        raise LoadError(
            f"The weights of {name} have {len(mismatched)} tensors of other shapes than its config says (the first is "
            f"{tensor}, {list(stored)} for {list(expected)}); get the config.json that belongs to them."
        )
    if missing:
        raise LoadError(
            f"The weights of {name} lack {len(missing)} tensors (the first is {missing[0]}), "
            "which would be random; get a complete copy."
        )
    if unused:
        announce(f"{name} holds {len(unused)} tensors that the model has no place for (the first is {unused[0]})")
