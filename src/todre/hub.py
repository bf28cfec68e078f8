"""Fetch checkpoints from the Hugging Face hub.

The size of a download is announced before it starts, only safetensors are taken, and all files come from one revision.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todre.errors import LoadError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model", ".tiktoken")
_ELSEWHERE = ("consolidated", "pytorch_model", "training_args")
_LONGEST = 300
PATIENCE = 3.0
"""Seconds that the hub may take to describe a repository.

The environment variable `HF_HUB_ETAG_TIMEOUT` overrides this.
"""


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
    """Download the files of a hub repository that are not in the cache yet.

    Without a network, a snapshot that is already in the cache is used.

    Args:
        model_id: "organisation/name".
        revision: branch, tag or commit; None means the default branch.
        code: also fetch Python files, for `trust_remote_code`.
        announce: called once before a download starts, with a sentence that says the number and size of files.

    Raises:
        LoadError: no such repository, no access, no network and no cached copy, or no safetensors in it.
    """
    from huggingface_hub import snapshot_download

    try:
        info = _described(model_id, revision)
    except LoadError:
        raise
    except Exception as error:  # offline mode, and every transport has a type of its own for "no network"
        return _cached(model_id, revision, code, error)

    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or [] if _is_needed(file.rfilename, code)}
    if not any(name.endswith(".safetensors") for name in sizes):
        raise LoadError(
            f"{model_id} holds no weights in the safetensors format, the only one that todre reads; "
            "convert them, or use another repository of the same model."
        )
    missing = [name for name in sizes if not _is_cached(model_id, name, info.sha)]
    if missing:
        total = sum(sizes[name] for name in missing)
        announce(f"downloading {len(missing)} files of {model_id}, {decimal_bytes(total)}")
    try:
        # By the name of the branch: of a commit, the cache would not note what the branch stood for, and could not be
        # asked for the branch without a network.
        path = Path(snapshot_download(model_id, revision=revision, allow_patterns=sorted(sizes)))
    except Exception as error:  # every transport has types of its own
        raise _refusal(model_id, revision, error) or LoadError(
            f"{model_id} could not be downloaded ({first_line(error)}); run it again to resume the download."
        ) from error
    return Snapshot(path, path.name)


def fetch_config(model_id: str) -> Path:
    """Fetch config.json alone of a hub repository, and return its folder.

    Without a network, the copy in the cache is used.

    Raises:
        LoadError: no such repository, no access, no config in it, or no network and no cached copy.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        _described(model_id, None)
        return Path(hf_hub_download(model_id, "config.json")).parent
    except LoadError:
        raise
    except Exception as error:
        refusal = _refusal(model_id, None, error)
        if refusal is None and isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            refusal = LoadError(f"{model_id} has no config.json on the hub; give a model of transformers.")
        if refusal is not None:
            raise refusal from error
        cached = try_to_load_from_cache(model_id, "config.json")
        if isinstance(cached, str):
            return Path(cached).parent
        raise _out_of_reach(model_id, error) from error


def _described(model_id: str, revision: str | None) -> Any:
    """The hub's description of a repository.

    Any exception except `LoadError` means that the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    limit = _patience()
    try:
        return _within(
            limit, lambda: HfApi().model_info(model_id, revision=revision, files_metadata=True, timeout=limit)
        )
    except Exception as error:
        refusal = _refusal(model_id, revision, error)
        if refusal is not None:
            raise refusal from error
        raise


def _refusal(model_id: str, revision: str | None, error: Exception) -> LoadError | None:
    """What the hub refused, in a sentence; None if it said nothing of the kind.

    Everybody may read the description of a gated repository, whose files are refused.
    """
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):  # the hub counts these as repositories that are not found
        return LoadError(f"{model_id} is gated on the hub; accept its terms there and log in with `hf auth login`.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return LoadError(f"There is no model {model_id!r} on the hub that you can read; check the spelling.")
    if isinstance(error, errors.RevisionNotFoundError):
        return LoadError(f"{model_id} has no revision {revision!r}; use a branch, tag or commit of it.")
    if isinstance(error, errors.HFValidationError):
        return LoadError(f"{model_id!r} is neither a folder nor a hub id such as llava-hf/llava-1.5-7b-hf.")
    return None


def _patience() -> float:
    """Seconds to wait for the hub: the user's setting, or else `PATIENCE`.

    huggingface_hub reads `HF_HUB_ETAG_TIMEOUT` when it is imported, and takes 10 without it.
    """
    from huggingface_hub import constants

    configured = constants.HF_HUB_ETAG_TIMEOUT
    return PATIENCE if configured == constants.DEFAULT_ETAG_TIMEOUT else float(configured)


def _within(limit: float, ask: Callable[[], Any]) -> Any:
    """The result of `ask`, or its exception; TimeoutError after `limit` seconds.

    The transport's own timeout bounds each address and each part of an answer separately, and does not bound the
    look-up of a name. So `ask` runs in a thread, which ends with the process if `ask` never gets an answer.
    """
    answers: list[Any] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="todre-hub", daemon=True)
    thread.start()
    thread.join(limit)
    if failures:
        raise failures[0]
    if not answers:
        raise TimeoutError(f"no answer within {limit:g} s; HF_HUB_ETAG_TIMEOUT sets another limit")
    return answers[0]


def decimal_bytes(count: int) -> str:
    """A number of bytes as the hub shows it, in powers of ten."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError  # pragma: no cover


def first_line(error: BaseException) -> str:
    """First line of an exception's text without its full stop, to quote in a sentence.

    Two lines are taken if the first ends with a colon.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return first.rstrip(".:") if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…"


def _is_needed(name: str, code: bool) -> bool:
    """True for files at the root that `from_pretrained` reads.

    Other formats of the same weights are left out.
    """
    folder, _, base = name.rpartition("/")
    if folder not in ("", "additional_chat_templates") or base.startswith(_ELSEWHERE):
        return False
    return base.endswith(_SUFFIXES) or (code and base.endswith(".py"))


def _is_cached(model_id: str, name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model_id, name, revision=revision), str)


def _cached(model_id: str, revision: str | None, code: bool, reason: Exception) -> Snapshot:
    from huggingface_hub import snapshot_download

    found: Any
    try:
        found = snapshot_download(model_id, revision=revision, local_files_only=True)
    except (OSError, ValueError) as error:
        # The hub's client counts a snapshot without the files that todre leaves out as incomplete.
        found = getattr(error, "snapshot_path", None)
    if found is None or not _is_whole(model_id, Path(found), code):
        raise _out_of_reach(model_id, reason) from reason
    return Snapshot(Path(found), Path(found).name)


def _is_whole(model_id: str, folder: Path, code: bool) -> bool:
    """Whether a snapshot in the cache has all files that todre reads of it.

    Where the cache does not say which files there are, weights alone are looked for.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        listed = [file.path for file in get_cached_repo_tree(model_id, revision=folder.name)]
    except CachedRepoTreeNotFoundError:
        return any(folder.glob("*.safetensors"))
    needed = [name for name in listed if _is_needed(name, code)]
    return bool(needed) and all((folder / name).exists() for name in needed)


def _out_of_reach(model_id: str, reason: Exception) -> LoadError:
    return LoadError(
        f"{model_id} is neither a folder here nor in the download cache, and the hub cannot be reached "
        f"({first_line(reason)}); check the path or the network."
    )
