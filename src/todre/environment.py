"""Versions and machine, for results and for reports of a problem.

This module reads package metadata and imports nothing large.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from todre.errors import MissingDependencyError

PACKAGES = ("todre", "torch", "transformers", "numpy", "pillow")
OPTIONAL = (
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "matplotlib",
    "av",
    "torchvision",
    "flash_attn",
    "accelerate",
)


def need(modules: Sequence[str], what: str, extra: str) -> None:
    """Raise unless all modules of an extra can be found; imports none of them.

    Args:
        modules: their names.
        what: what needs them, the beginning of a sentence.
        extra: of todre, that brings them.

    Raises:
        MissingDependencyError: one is absent.
    """
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingDependencyError(
            f"{what} needs packages that are absent ({', '.join(absent)}); install them: pip install 'todre[{extra}]'."
        )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version()} | {name: found for name in PACKAGES if (found := _version(name))}


def describe() -> dict[str, Any]:
    """Versions, platform and devices, to paste into a report of a problem.

    It imports torch to ask for devices.

    Returns:
        `versions` (required and optional packages, None where absent), `platform`, `cpu_count`, and `torch` with its
        CUDA build, threads and devices; `torch` holds `error` where it cannot be imported.
    """
    packages = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES + OPTIONAL}
    return {
        "versions": packages,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "torch": _torch(),
        "torchvision": _torchvision(packages["torchvision"]),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    try:
        import torch
    except Exception as error:
        return {"error": str(error).splitlines()[0] if str(error) else type(error).__name__}
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"cuda_build": torch.version.cuda, "devices": devices, "threads": torch.get_num_threads()}


def _torchvision(installed: str | None) -> str:
    if installed is None:
        return "absent (fine: image processors use PIL)"
    from todre.processing import check_torchvision

    try:
        check_torchvision()
    except MissingDependencyError as error:
        return str(error)
    return "works"
