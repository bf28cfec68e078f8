"""The base of dataclasses whose fields are checked: methods, and the settings of everything else."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, get_type_hints

from todre.errors import InvalidValueError
from todre.fields.fitting import fitted


class Checked:
    """Base of dataclasses whose fields are checked by their annotations, and made plain, when one is made.

    A class's own `__post_init__`, for what fields have to do with each other, runs after that and finds them checked.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("__post_init__")
        if own is not None:

            @functools.wraps(own)
            def after_checks(self: Any, *given: Any) -> None:
                check_fields(self)
                own(self, *given)

            cls.__post_init__ = after_checks  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        check_fields(self)


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
    """What each field that `__init__` takes is annotated with.

    Raises:
        InvalidValueError: an annotation names something that is not there.
    """
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise InvalidValueError(
            f"The fields of {cls.__name__} cannot be checked: {error.name!r}, which an annotation names, is not there "
            "when the program runs; import it at the top of the module, not under TYPE_CHECKING."
        ) from error
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
