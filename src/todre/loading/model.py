"""Load a vision-language model and its processor.

Both come from a folder, from the hub, or from a shipped checkpoint.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from todre.errors import InvalidValueError, LoadError
from todre.files import Kind, read_json
from todre.files.shapes import ANY
from todre.hf.model_parts import attention_backend, text_config
from todre.hub import HUB_ID, fetch, fetch_config, first_line
from todre.loading.memory_needs import (
    Weights,
    check_complete,
    check_counts,
    check_fits,
    configured_weights,
    stored_weights,
)
from todre.loading.network import build_network
from todre.loading.quiet import mute_loggers
from todre.processing import check_agreement, check_torchvision, load_processor
from todre.shipped import checkpoint_path
from todre.shipped import names as shipped_names
from todre.tiny import SHIPPED as SHIPPED

CONFIG = Kind("restore it from the checkpoint", ANY, LoadError, lenient=True)
"""A model's config.json."""
_LOGGER = logging.getLogger("todre")
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to run, and its origin.

    Attributes:
        model: in evaluation mode, on `device`.
        processor: image processor, tokenizer and chat template together.
        name: the folder or hub id that the user named, or `SHIPPED`.
        path: directory of the checkpoint.
        revision: commit hash on the hub; None for a folder.
    """

    model: Any
    processor: Any
    name: str
    path: Path
    revision: str | None

    @property
    def device(self) -> torch.device:
        """The device that the model's inputs go to."""
        device: torch.device = self.model.device
        return device

    def facts(self) -> dict[str, Any]:
        """The facts that a result records about the model, ready for JSON."""
        return {
            "id": self.name,
            "revision": self.revision,
            "model_type": self.model.config.model_type,
            "device": str(self.device),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attn_implementation": attention_backend(text_config(self.model)),
            "image_processor_backend": getattr(self.processor.image_processor, "backend", "unknown"),
        }


def load(
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    announce: Callable[[str], None] = _LOGGER.warning,
) -> Loaded:
    """Load a model and its processor.

    Args:
        model: a folder, a hub id, a name that `todre models` lists, or None for `todre-tiny`, which ships with todre.
            Weights are read from safetensors alone.
        revision: branch, tag or commit on the hub.
        device: "auto" (a GPU where there is one), or a torch device such as "cpu" or "cuda:1".
        dtype: "auto" (float32 on the CPU, the checkpoint's own elsewhere), "float32", "float16" or "bfloat16".
        attn_implementation: "sdpa", "eager", "flash_attention_2", …; None leaves the choice to transformers.
        trust_remote_code: run Python code from the checkpoint; off by default.
        announce: called with a sentence on the size of a download before it starts, with one about weights that the
            model has no place for, and with one before a model that has a name is put together; the logger `todre`
            by default.

    Raises:
        LoadError: there is no usable model or processor under that name, or it needs more memory than there
            is, which is checked before anything is built.
        InvalidValueError: a device, dtype or attention implementation that is unknown or not there.
        MissingDependencyError: an installed torchvision does not fit torch, or the model needs one that is absent.
    """
    target = as_device(device)
    precision = as_dtype(dtype, target)
    check_torchvision()
    name, path, resolved = _locate(model, revision, trust_remote_code, announce)
    with mute_loggers("transformers"):
        config = _check_config(name, path, trust_remote_code)
        check_fits(name, _weights(name, path, config), precision, target)
        processor = load_processor(path, trust_remote_code, name=name)
        check_agreement(name, config, processor)
        network = build_network(name, path, precision, attn_implementation, trust_remote_code, announce)
        return Loaded(network.to(target).eval(), processor, name, path, resolved)


def load_config(model: str | Path | None = None) -> Any:
    """The config of a model, without its weights.

    Args:
        model: a folder, a hub id (only its config.json is fetched), a name that `todre models` lists, or None for
            `todre-tiny`.

    Raises:
        LoadError: there is no readable config under that name.
    """
    path = Path(model).expanduser() if model is not None else None
    if model is None or path is None or path.exists() or model in shipped_names():
        name, folder, _ = _locate(model, None, False, lambda sentence: None)
    else:
        name = str(model)
        if not HUB_ID.fullmatch(name):
            raise LoadError(
                f"{name} is neither a folder nor a hub id such as llava-hf/llava-1.5-7b-hf; check the path."
            )
        folder = fetch_config(name)
    _read_config(name, folder)
    with mute_loggers("transformers"):
        return _config(name, folder)


def _config(name: str, folder: Path) -> Any:
    """The config in a folder, as transformers reads it."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise LoadError(
            f"The config of {name} cannot be loaded ({first_line(error)}); get the model's own config.json."
        ) from error


def _weights(name: str, path: Path, config: Any) -> Weights:
    """The size of the weights: the stored size, or the config's if that is larger.

    Quantised weights take less than the config says, and the size of a model that a checkpoint's own code builds is not
    known.
    """
    stored = stored_weights(name, path)
    if config is None or getattr(config, "quantization_config", None) is not None:
        return stored
    built = configured_weights(name, config)
    check_complete(name, stored, built)
    return stored.with_at_least(built.floats)


def as_device(device: str) -> torch.device:
    """The torch device of that name; `auto` is a GPU where there is one.

    Raises:
        InvalidValueError: the device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise InvalidValueError(f"device {device!r} is unknown; use auto, cpu, cuda or cuda:N.") from error
    if target.type == "meta" or (target.type == "mps" and not torch.backends.mps.is_available()):
        raise InvalidValueError(f"device {device!r} cannot run a model here; use auto, cpu, cuda or cuda:N.")
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise InvalidValueError(
            f"device {device!r} is not there (torch sees {torch.cuda.device_count()} GPUs); use cpu."
        )
    return target


def as_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    """The dtype of that name.

    `auto` is float32 on the CPU, and stays `auto` (the checkpoint's own) elsewhere.

    Raises:
        InvalidValueError: the dtype is unknown.
    """
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype not in _DTYPES:
        raise InvalidValueError(f"dtype {dtype!r} is unknown; use auto, {', '.join(_DTYPES)}.")
    return _DTYPES[dtype]


def _locate(
    model: str | Path | None, revision: str | None, code: bool, announce: Callable[[str], None]
) -> tuple[str, Path, str | None]:
    """(name, directory, revision) of the checkpoint, downloaded if it is on the hub."""
    name, path = SHIPPED if model is None else str(model), Path(model or "").expanduser()
    folder = model is not None and path.is_dir() and bool(name.strip())
    if revision is not None and (model is None or folder or model in shipped_names()):
        raise InvalidValueError(
            f"revision {revision!r} names a commit on the hub, and {name} does not come from there; leave it out."
        )
    if model is None:
        return SHIPPED, checkpoint_path(), None
    if folder:
        return name, path, None
    if model in shipped_names():
        return name, checkpoint_path(name, announce), None
    if path.is_file():
        raise LoadError(f"{name} is a file, not a model; give the folder that holds its config.json.")
    if isinstance(model, Path) or not HUB_ID.fullmatch(name):
        raise LoadError(f"{name!r} is neither a folder nor a hub id such as llava-hf/llava-1.5-7b-hf; check the path.")
    snapshot = fetch(name, revision, code=code, announce=announce)
    return name, snapshot.path, snapshot.revision


def _check_config(name: str, path: Path, trust_remote_code: bool) -> Any:
    """The config; None if the model is the checkpoint's own code.

    Raises unless the folder holds a vision-language model in safetensors.
    """
    config = _read_config(name, path)
    model_type = config["model_type"]
    if not list(path.glob("*.safetensors")):
        others = sorted(p.name for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".gguf"))
        found = f" (there is {others[0]})" if others else ""
        raise LoadError(f"{name} has no *.safetensors weights{found}, the only format that todre reads; convert them.")
    if "auto_map" in config and trust_remote_code:
        return None
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        remedy = (
            "it brings its own code, which runs only with --trust-remote-code"
            if "auto_map" in config
            else "use one that answers questions about pictures"
        )
        raise LoadError(f"{name} is not a vision-language model that transformers knows ({model_type!r}); {remedy}.")
    return _config(name, path)


def _read_config(name: str, path: Path) -> dict[str, Any]:
    """The folder's config.json, which must name its model type."""
    file = path / "config.json"
    if not os.path.lexists(file):
        raise LoadError(f"{name} is not a model: the folder has no config.json; give the folder of a checkpoint.")
    try:
        config: Any = read_json(file, CONFIG)
    except LoadError as error:
        raise LoadError(f"{name} has a config.json that cannot be read: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise LoadError(f"{name} has a config.json without model_type; give a model that transformers can load.")
    check_counts(name, config)
    return dict(config)
