"""Fetch a checkpoint from the hub: its size is said before, only safetensors are taken, one revision is resolved."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import LoadError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WANTED = (".safetensors", ".json", ".jinja", ".txt", ".model", ".tiktoken")
_ELSEWHERE = ("consolidated", "pytorch_model", "training_args")


@dataclass(frozen=True)
class Snapshot:
    """A complete checkpoint on disk.

    Attributes:
        path: the directory.
        revision: commit hash on the hub.
    """

    path: Path
    revision: str


def fetch(model_id: str, revision: str | None, *, code: bool, announce: Callable[[str], None]) -> Snapshot:
    """Download what is not cached yet of a hub repository, after `announce` was told how much that is.

    Without a network, a snapshot that is already in the cache is used.

    Args:
        model_id: "organisation/name".
        revision: branch, tag or commit; None is the default branch.
        code: also fetch Python files, for `trust_remote_code`.
        announce: called once with a sentence before a download starts.

    Raises:
        LoadError: no such repository, no access, no network and no cached copy, or no safetensors in it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(model_id, revision=revision, files_metadata=True)
    except GatedRepoError as error:
        raise LoadError(
            f"{model_id} is gated on the hub; accept its terms there and log in with `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise LoadError(f"There is no model {model_id!r} on the hub that you can read; check the spelling.") from error
    except RevisionNotFoundError as error:
        raise LoadError(f"{model_id} has no revision {revision!r}; use a branch, tag or commit of it.") from error
    except HFValidationError as error:
        raise LoadError(f"{model_id!r} is neither a folder nor a hub id such as llava-hf/llava-1.5-7b-hf.") from error
    except Exception as error:  # offline mode, and every transport has a type of its own for "no network"
        return _cached(model_id, revision, error)

    wanted = {file.rfilename: int(file.size or 0) for file in info.siblings or [] if _is_wanted(file.rfilename, code)}
    if not any(name.endswith(".safetensors") for name in wanted):
        raise LoadError(
            f"{model_id} holds no weights in the safetensors format, the only one that todre reads; "
            "convert them, or use another repository of the same model."
        )
    missing = [name for name in wanted if not _is_cached(model_id, name, info.sha)]
    if missing:
        total = sum(wanted[name] for name in missing)
        announce(f"downloading {len(missing)} files of {model_id}, {decimal_bytes(total)}")
    try:
        path = snapshot_download(model_id, revision=info.sha, allow_patterns=sorted(wanted))
    except OSError as error:
        raise LoadError(
            f"{model_id} could not be downloaded ({first_line(error)}); run it again to resume the download."
        ) from error
    return Snapshot(Path(path), str(info.sha))


def decimal_bytes(count: int) -> str:
    """Bytes as the hub shows them, in powers of ten."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError  # pragma: no cover


def first_line(error: BaseException) -> str:
    """First line of an exception's text without its full stop, for use inside a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _is_wanted(name: str, code: bool) -> bool:
    """Files at the root that `from_pretrained` reads; not other formats of the same weights."""
    folder, _, base = name.rpartition("/")
    if folder not in ("", "additional_chat_templates") or base.startswith(_ELSEWHERE):
        return False
    return base.endswith(_WANTED) or (code and base.endswith(".py"))


def _is_cached(model_id: str, name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model_id, name, revision=revision), str)


def _cached(model_id: str, revision: str | None, reason: Exception) -> Snapshot:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path: Any = snapshot_download(model_id, revision=revision, local_files_only=True)
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise LoadError(
            f"{model_id} is neither a folder here nor in the download cache, and the hub cannot be reached "
            f"({first_line(reason)}); check the path or the network."
        ) from error
    return Snapshot(Path(path), Path(path).name)
