"""The row function of a model in memory, which answers each row by itself."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todre.batch.pictures import open_picture
from todre.batch.records import Failure, Outcome, Record, Reply, Work
from todre.batch.rows import Message, Row, row_of
from todre.errors import InvalidValueError, TodreError
from todre.fields import Checked
from todre.fields.kinds import Count, Seed
from todre.files import Kind, sha256
from todre.files.names import reason

if TYPE_CHECKING:
    from todre.loading.model import Loaded
    from todre.methods.base import Method
    from todre.methods.guard import Guard

TOKENIZER = Kind("restore it from the checkpoint", most=2**32)
"""Kind of file: a tokenizer's own, in no format that is looked at."""
_OF_A_TOKENIZER = ("merges.txt", "vocab.txt", "*.model", "*.tiktoken")


@dataclass(frozen=True, kw_only=True)
class Answering(Checked):
    """How rows are answered by a model in memory; can be sent to other processes.

    Attributes:
        folder: the folder that paths of pictures are relative to.
        model, device, dtype, attn_implementation, trust_remote_code: as `todre.loading.model.load` takes them.
        method: the method as `Method.to_dict` describes it.
        guard: what looks at each picture, as `Guard.to_dict` describes it; None for nothing.
        max_new_tokens: longest answer in tokens, where a row does not say it.
        seed: seed of torch's random numbers before each row, where a row does not say it.
        threads: torch's threads; None leaves them as they are.
        urls: whether pictures at web addresses are fetched.
    """

    folder: Path
    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    method: dict[str, Any] = field(default_factory=lambda: {"method": "todre"})
    guard: dict[str, Any] | None = None
    max_new_tokens: Count = 64
    seed: Seed = 0
    threads: Count | None = None
    urls: bool = False

    def conditions(self) -> dict[str, Any]:
        """All that an answer depends on beside its row, ready for JSON.

        How many processes answer is not among it: answers do not depend on that. The device `auto` is the one that it
        is here, and a model on the hub is its commit.
        """
        from todre.evaluate.runner import model_sha256, revision_of
        from todre.loading.model import as_device
        from todre.methods import registry
        from todre.methods.shared.identity import identity_of

        device = as_device("auto").type if self.device == "auto" else self.device.partition(":")[0]
        return {
            "answered by": "a model in memory",
            "model": model_sha256(self.model),
            "revision": revision_of(self.model),
            "tokenizer files": _tokenizer_sha256(self.model),
            "device": device,
            "dtype": "float32" if self.dtype == "auto" and device == "cpu" else self.dtype,
            "attn_implementation": self.attn_implementation,
            "method": identity_of(registry.from_dict(self.method)),
            **({} if self.guard is None else {"guard": self.guard}),  # an older output has no such name
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
        }

    def start(self) -> Work:
        """Load the model; the function that answers a record.

        Raises:
            TodreError: there is no such model, or the method cannot prune it.
        """
        import torch

        from todre.loading.model import load
        from todre.methods import registry
        from todre.methods.guard import OFF, Guard
        from todre.pruning import prune

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        loaded = load(
            self.model,
            device=self.device,
            dtype=self.dtype,
            attn_implementation=self.attn_implementation,
            trust_remote_code=self.trust_remote_code,
        )
        method = registry.from_dict(self.method)
        guard = Guard.watching(OFF if self.guard is None else Guard.from_dict(self.guard), method)
        with prune(loaded.model, method):  # a model that cannot be pruned is refused before the first row
            pass
        return _Answerer(self, loaded, method, guard)


class _Answerer:
    """Answers records with a loaded model."""

    def __init__(self, answering: Answering, loaded: Loaded, method: Method, guard: Guard | None) -> None:
        self._answering, self._loaded, self._method, self._guard = answering, loaded, method, guard

    def __call__(self, record: Record) -> Outcome:
        """The outcome of a record, a failure where it cannot be answered."""
        try:
            return Outcome.of(record, self._answer(row_of(record)))
        except Exception as error:
            return Outcome.of(record, failure_of(error))

    def _answer(self, row: Row) -> Reply:
        import torch

        from todre.hf.greedy_decoding import greedy_settings
        from todre.hf.keywords import IDS
        from todre.hf.positions_left import answer_length
        from todre.hf.token_streaming import closing_tokens
        from todre.methods.shared.seeds import with_seed
        from todre.processing import apply, check_columns
        from todre.processing.unknown_words import unknown_words
        from todre.pruning import prune_reported
        from todre.serving.prompt_checks import check_texts

        loaded = self._loaded
        if row.model not in ("", loaded.name, Path(loaded.name).name):
            raise InvalidValueError(
                f"The row asks for the model {row.model!r}, and {loaded.name} answers; name that, or leave it out."
            )
        method = self._method if row.retain is None else with_retain(self._method, row.retain)
        if row.seed is not None:
            method = with_seed(method, row.seed)
        conversation = [self._opened(message) for message in row.messages]
        inputs, rendered = apply(loaded.processor, conversation)
        check_columns(loaded.model.config, inputs)
        check_texts(rendered, _texts(row), loaded.name)
        prompt = int(inputs[IDS].shape[1])
        limit = answer_length(loaded.model, prompt, row.max_new_tokens, self._answering.max_new_tokens)
        inputs = inputs.to(loaded.device, dtype=loaded.model.dtype)
        gpus = [loaded.device] if loaded.device.type == "cuda" else []
        guard = self._guard
        with torch.inference_mode(), torch.random.fork_rng(gpus), prune_reported(loaded.model, method, guard) as report:
            torch.manual_seed(self._answering.seed if row.seed is None else row.seed)
            tokens = loaded.model.generate(**inputs, **greedy_settings(limit))
        new, last = tokens[0, prompt:], row.messages[-1].content
        asked = last if isinstance(last, str) else " ".join(part for part in last if isinstance(part, str))
        return Reply(
            text=loaded.processor.tokenizer.decode(new, skip_special_tokens=True).strip(),
            ended="stop" if int(new[-1]) in closing_tokens(loaded.model) else "length",
            model=loaded.name,
            prompt_tokens=prompt,
            new_tokens=len(new),
            visual_tokens=(report.visual_tokens_before[0], report.visual_tokens_after[0]),
            guarded=None if guard is None else tuple(seen.to_dict() for seen in report.guarded[0]),
            unknown_words=tuple(unknown_words(loaded.processor.tokenizer, asked, inputs[IDS])),
        )

    def _opened(self, message: Message) -> dict[str, Any]:
        """The message as a processor takes it, with its pictures open.

        A text alone is a list of one part as well: some templates see no text outside a list.
        """
        items = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image", "image": open_picture(part.picture, self._answering.folder, self._answering.urls)}
            for part in message.parts
        ]
        return {"role": message.role, "content": items}


def _texts(row: Row) -> Iterator[tuple[str, str]]:
    """(role, text) of every text of the row's conversation."""
    for message in row.messages:
        yield from ((message.role, part) for part in message.parts if isinstance(part, str))


def with_retain(method: Method, retain: float) -> Method:
    """The method with another budget.

    Raises:
        InvalidValueError: the method has no budget.
    """
    if "retain" not in {each.name for each in dataclasses.fields(method)}:
        raise InvalidValueError(
            f"The row has retain {retain}, and the method {method.name!r} has no budget; leave it out."
        )
    fields: dict[str, Any] = {"retain": retain}
    return dataclasses.replace(method, **fields)


def failure_of(error: Exception) -> Failure:
    """The failure of a row whose answer raised an error."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, TodreError):
        return Failure(type=type(error).__name__, message=text)
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        return Failure(type="OutOfMemory", message=f"There is not enough memory for this row ({reason(error)}).")
    return Failure(type=type(error).__name__, message=f"The row could not be answered ({reason(error)}).")


def cannot_start(error: Exception) -> TodreError:
    """The error that ends a run whose model could not be loaded, in one sentence."""
    if isinstance(error, TodreError):
        return error
    return TodreError(
        f"The model cannot be started ({type(error).__name__}: {reason(error)}); try `todre ask` with it."
    )


def _tokenizer_sha256(model: str | None) -> str | None:
    """SHA-256 of the files of a folder's tokenizer that are no JSON.

    None where there are none.
    """
    folder = Path(model or "").expanduser()
    found = [file for pattern in _OF_A_TOKENIZER for file in sorted(folder.glob(pattern))] if model else []
    if not found:
        return None
    return hashlib.sha256("".join(f"{file.name} {sha256(file, TOKENIZER)}\n" for file in found).encode()).hexdigest()
