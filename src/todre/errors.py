"""Typed errors and warnings.

Each message is one sentence that says what was wrong, with which value, and what to do.
"""

from __future__ import annotations


class TodreError(Exception):
    """Base of every error that todre raises on purpose.

    The command line prints its message and exits with 1.
    """


class InvalidValueError(TodreError, ValueError):
    """An argument or a setting has a value that cannot be used."""


class UnknownMethodError(TodreError, LookupError):
    """A method name is not in the registry."""


class UnsupportedModelError(TodreError):
    """The model cannot be pruned exactly.

    It has no visual tokens in its sequence, or todre does not support its architecture.
    """


class UnsupportedInputError(TodreError):
    """The model is supported, but not with this cache, mask or way of calling it."""


class ContractError(TodreError):
    """This release of transformers differs from what todre relies on.

    Something that pruning needs was renamed or changed.
    """


class UnprunedWarning(UserWarning):
    """Something ran unpruned while a model was being pruned."""


class GuardWarning(UserWarning):
    """The guard saw a picture whose answer pruning may harm."""


class OtherWeightsWarning(UserWarning):
    """A model was put together with other weights than those it was trained with."""


class ImageError(TodreError):
    """An image file cannot be read as a picture."""


class ClipError(TodreError):
    """A video file cannot be read as a clip."""


class OutputError(TodreError):
    """A result cannot be written where it should go.

    Either the place cannot be written, or the result would replace something that has to stay.
    """


class LoadError(TodreError):
    """A model or processor cannot be loaded from a path or hub id."""


class MissingDependencyError(TodreError, ImportError):
    """An optional package that is needed is absent or broken."""
