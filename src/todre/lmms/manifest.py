"""The target of lmms-eval's entry point `lmms_eval.models`."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The manifest by which lmms-eval finds `--model todre`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="todre", simple_class_path="todre.lmms.model.Todre")
