"""Calls of transformers' forwards as records, read and written by signature.

transformers 5.24 renamed the cache's keyword from `past_key_values` to `cache` in all modelling files at once; it
accepts the old name until 5.40. `Door` finds out which name a forward uses, so no other file has to.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from todre.errors import UnsupportedInputError
from todre.hf.keywords import CACHE_NAMES, DEEPSTACK, EMBEDS, ENCODED, IDS, LOGITS_TO_KEEP, MASK, POSITIONS, USE_CACHE

_TEXT = frozenset(
    {
        *CACHE_NAMES,
        IDS,
        EMBEDS,
        MASK,
        POSITIONS,
        "cache_position",
        "token_type_ids",
        "mm_token_type_ids",
        "moe_mm_token_type_ids",
        "labels",
        LOGITS_TO_KEEP,
        "return_dict",
    }
)
"""Arguments that never bring a picture, whatever they hold."""


@dataclass
class DecoderCall:
    """The arguments of one call of a decoder, or of the model around it.

    Attributes:
        ids: (b, q) int64 token ids, or None.
        embeds: (b, q, d) embeddings, or None.
        cache: the KV cache, or None.
        mask: an attention mask of any kind, or None.
        positions: (b or 1, q) or (axes, b or 1, q) int64, or None.
        rest: every other argument, by name.
    """

    ids: Tensor | None = None
    embeds: Tensor | None = None
    cache: Any = None
    mask: Any = None
    positions: Tensor | None = None
    rest: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """q, columns of the call."""
        return int(self._columns_tensor.shape[1])

    @property
    def rows(self) -> int:
        """b, rows of the batch."""
        return int(self._columns_tensor.shape[0])

    @property
    def _columns_tensor(self) -> Tensor:
        """The embeddings, or the token ids without embeddings.

        Raises:
            UnsupportedInputError: the call has neither.
        """
        tensor = self.embeds if self.embeds is not None else self.ids
        if tensor is None:
            raise UnsupportedInputError(f"A forward needs {IDS} or {EMBEDS}; it was given neither.")
        return tensor

    @property
    def caches(self) -> bool | None:
        """True if the caller asks for a cache, False if it refuses one, None if unsaid."""
        return self.rest.get(USE_CACHE)

    @property
    def deepstack(self) -> Any:
        """Picture features that the first layers add to hidden states, or None."""
        return self.rest.get(DEEPSTACK)

    @deepstack.setter
    def deepstack(self, features: Any) -> None:
        self.rest[DEEPSTACK] = features

    @property
    def drafts(self) -> int:
        """Number of trailing columns that assisted decoding proposes.

        Assisted decoding asks for the logits of these columns and of one more.
        """
        kept = self.rest.get(LOGITS_TO_KEEP, 0)
        return kept - 1 if isinstance(kept, int) and kept > 1 else 0

    @property
    def encodings(self) -> Mapping[str, Any]:
        """Media that were encoded before this forward, by kind."""
        return self.rest.get(ENCODED) or {}

    @property
    def brings_media(self) -> bool:
        """True if this forward may encode pictures or clips, or is given encoded ones."""
        for name, value in self.rest.items():
            if value is None or name in _TEXT or isinstance(value, bool | int | float | str):
                continue
            if not isinstance(value, dict) or value:
                return True
        return False

    def with_fields(self, **fields: Any) -> DecoderCall:
        """A copy of the call with some fields replaced."""
        values = {
            "ids": self.ids,
            "embeds": self.embeds,
            "cache": self.cache,
            "mask": self.mask,
            "positions": self.positions,
            "rest": self.rest,
        }
        return DecoderCall(**(values | fields))


class Door:
    """Reads calls of one forward into `DecoderCall`s, and writes them back.

    Args:
        function: a forward, or a function that builds masks; its signature names its arguments.
        within: the forward that receives what `function` does not name; None if it names everything.
    """

    def __init__(self, function: Callable[..., Any], within: Callable[..., Any] | None = None) -> None:
        inner = named_parameters(function if within is None else within)
        own = named_parameters(function)
        self.order = own + inner[len(own) :] if passes_on(function, inspect.Parameter.VAR_POSITIONAL) else own
        self.required = required_parameters(function)
        found = [name for name in CACHE_NAMES if name in inner]
        self.cache = found[0] if found else CACHE_NAMES[0]

    @classmethod
    def of(cls, module: nn.Module) -> Door:
        """The door of a module's class forward, not of the instance's patched forward."""
        return cls(type(module).forward, naming_forward(type(module)))

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> DecoderCall:
        """The call as a record; positional arguments get their names.

        Raises:
            UnsupportedInputError: more positional arguments than the forward has, or a cache under two names.
        """
        named = dict(kwargs)
        if args:
            if len(args) > len(self.order):
                raise UnsupportedInputError(
                    f"This forward takes at most {len(self.order)} positional arguments, and got {len(args)}; "
                    "pass them by name."
                )
            named = dict(zip(self.order, args, strict=False)) | named
        cache = None
        for name in CACHE_NAMES:
            value = named.pop(name, None)
            if value is not None:
                if cache is not None and cache is not value:
                    raise UnsupportedInputError(
                        f"Two caches were given, as {' and '.join(CACHE_NAMES)}; pass one, as {self.cache}."
                    )
                cache = value
        ids, embeds = named.pop(IDS, None), named.pop(EMBEDS, None)
        mask, positions = named.pop(MASK, None), named.pop(POSITIONS, None)
        return DecoderCall(ids, embeds, cache, mask, positions, named)

    def write(self, call: DecoderCall) -> dict[str, Any]:
        """`call` as keyword arguments; fields that are None are left to the defaults."""
        kwargs = dict(call.rest)
        fields = (
            (IDS, call.ids),
            (EMBEDS, call.embeds),
            (self.cache, call.cache),
            (MASK, call.mask),
            (POSITIONS, call.positions),
        )
        for name, value in fields:
            if value is not None or name in self.required:
                kwargs[name] = value
        return kwargs


def named_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of parameters that can be passed by position, in order, without `self`."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return tuple(each.name for each in parameters if each.kind in kinds and each.name != "self")


def required_parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Names of parameters without a default, without `self`."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return frozenset(
        each.name
        for each in parameters
        if each.default is inspect.Parameter.empty and each.kind not in kinds and each.name != "self"
    )


def accepts_any(function: Callable[..., Any]) -> bool:
    """True if `function` accepts keywords that it does not name."""
    return passes_on(function, inspect.Parameter.VAR_KEYWORD)


def passes_on(function: Callable[..., Any], kind: Any) -> bool:
    """True if `function` has a `*args` or `**kwargs` parameter, by `kind`."""
    return any(each.kind is kind for each in inspect.signature(function).parameters.values())


def naming_forward(cls: type) -> Callable[..., Any]:
    """The forward that names a module's arguments, along its class hierarchy.

    A user's own subclass may name only some arguments, or none, and pass all on by `**kwargs` to the class it extends.
    """
    own: Callable[..., Any] = cls.forward  # type: ignore[attr-defined]
    for each in cls.__mro__:
        forward = vars(each).get("forward")
        if forward is None:
            continue
        named = any(name in CACHE_NAMES for name in named_parameters(forward))
        if named or each.__module__.startswith("transformers.") or not accepts_any(forward):
            return forward  # type: ignore[no-any-return]
    return own


def cache_of(output: Any) -> Any:
    """The KV cache in the output of a forward or of `generate`, or None."""
    if isinstance(output, tuple):  # return_dict=False
        return next((each for each in output if hasattr(each, "layers") and hasattr(each, "get_seq_length")), None)
    for name in CACHE_NAMES:
        # A look-up by key, since 5.24 answers the old attribute with a warning.
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if found is not None:
            return found
    return None


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """The keyword argument that passes `cache` to `model`, or to its `generate`."""
    return {Door.of(model).cache: cache}


def contiguous(start: int, length: int, device: torch.device) -> Tensor:
    """Positions from `start` on, (1, length) int64."""
    return torch.arange(start, start + length, device=device, dtype=torch.int64)[None]


def embeddings_of(call: DecoderCall) -> Tensor:
    """The embeddings of a decoder's call, (b, q, d).

    Token ids have been looked up before a step is made.

    Raises:
        UnsupportedInputError: the call has no embeddings.
    """
    if call.embeds is None:
        raise UnsupportedInputError("The decoder was called without embeddings; pass ids or embeddings.")
    return call.embeds
