"""Whether torchvision is installed and works."""

from __future__ import annotations

import importlib
import importlib.util

import torch

from todre.errors import MissingDependencyError
from todre.hub import first_line


def check_torchvision() -> None:
    """Raise if torchvision is installed but does not fit the installed torch.

    torchvision may be absent. But if it is linked to another torch, every multimodal import of transformers fails.

    Raises:
        MissingDependencyError: torchvision is installed and cannot be imported.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        raise MissingDependencyError(
            f"The installed torchvision does not fit torch {torch.__version__} ({first_line(error)}); "
            "run `pip uninstall torchvision`, or install the build of it that was made for this torch."
        ) from error


def has_torchvision() -> bool:
    """True if transformers takes its torchvision code paths.

    transformers decides this once, when it is imported.
    """
    from transformers.utils import is_torchvision_available

    return bool(is_torchvision_available())
