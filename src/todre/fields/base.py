"""The base class of dataclasses whose fields are checked.

Methods and all other settings derive from this class.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import inspect
import sys
import types
from typing import Any, get_type_hints

from todre.errors import InvalidValueError
from todre.fields.coercion import fitted


class Checked:
    """Base of dataclasses whose fields are checked against their annotations.

    When an instance is made, its values are made plain and checked.

    A class's own `__post_init__`, for checks across several fields, runs after that, on checked values.
    `check_together` runs before it, for checks that a base class makes of all that derive from it.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("__post_init__")
        if own is not None:

            @functools.wraps(own)
            def after_checks(self: Any, *arguments: Any) -> None:
                check_fields(self)
                self.check_together()
                own(self, *arguments)

            cls.__post_init__ = after_checks  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_together()

    def check_together(self) -> None:
        """Check fields against each other; nothing here."""


def check_fields(made: object) -> None:
    """Fit every field of a dataclass to its annotation, in place.

    Raises:
        InvalidValueError: a value is not what the annotation allows.
    """
    cls: Any = type(made)
    for name, kind in annotations_of(cls).items():
        value = getattr(made, name)
        plain = fitted(f"{cls.__name__}.{name}", value, kind)
        if plain is not value:
            object.__setattr__(made, name, plain)


@functools.cache
def annotations_of(cls: type) -> dict[str, Any]:
    """The annotation of each field that `__init__` takes.

    Raises:
        InvalidValueError: an annotation names something that does not exist when the program runs.
    """
    found: dict[str, Any] = {}
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    for base in reversed(cls.__mro__):
        own = {name: kind for name, kind in inspect.get_annotations(base).items() if name in names}
        try:
            found |= get_type_hints(types.SimpleNamespace(__annotations__=own), _names_at(base), include_extras=True)
        except NameError as error:
            raise InvalidValueError(
                f"The fields of {base.__name__} cannot be checked: {error.name!r}, which an annotation names, is not "
                "there when the program runs; import it at the top of the module, not under TYPE_CHECKING."
            ) from error
    return {name: found[name] for name in names}


def _names_at(cls: type) -> dict[str, Any]:
    """The names that a class's annotations can use, and their values.

    They are the globals of the class's module and, if that does not hold the class, of its methods too.
    """
    module = sys.modules.get(cls.__module__)
    around: dict[str, Any] = next((each.__globals__ for each in vars(cls).values() if hasattr(each, "__globals__")), {})
    return vars(module) if hasattr(module, cls.__name__) else {**vars(module or builtins), **around}
