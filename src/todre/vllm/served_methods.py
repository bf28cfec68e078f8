"""Which methods can be served by vLLM, and why others cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from todre.errors import InvalidValueError, UnsupportedInputError
from todre.methods import registry
from todre.methods.auto_budget import AutoBudget
from todre.methods.base import Method
from todre.methods.shared.names import check_names
from todre.methods.todre import STAGE_2, ToDRE

T = TypeVar("T")


def why_not(name: str) -> str | None:
    """The reason, as part of a sentence, why vLLM cannot serve a method, or None.

    Raises:
        UnknownMethodError: there is no such method.
    """
    entry = registry.entry(name)
    acts, needs = entry.card.acts, entry.card.needs
    if "pixels" in acts:
        return "it resizes pictures before the processor, which clients can do themselves with todre.downsample"
    if "text" in needs:
        return "it reads the question, and vLLM encodes a picture once for all questions"
    if "tower" in acts:
        return "it acts in the vision tower, which vLLM runs on all tokens"
    if "select" not in acts:
        return "it acts inside the LLM, where vLLM lets no token drop out" if acts else "it drops nothing"
    if "reduce" in acts and "stages" not in entry.settings:
        return "it also acts inside the LLM, where vLLM lets no token drop out"
    twin = _twin(entry)
    if twin != name:
        return f"it differs from {twin!r} inside the LLM alone, where vLLM lets no token drop out"
    if not entry.cls.exact or "retain" not in entry.settings:
        return "how many tokens it keeps depends on the picture, and vLLM asks for the number beforehand"
    if "frames" in needs:
        return "it needs a clip, and only pictures are certain to be asked about"
    if "screens" in needs:
        return "it divides one budget over several pictures, and vLLM encodes each by itself"
    return None


def _inside(cls: type[Method]) -> tuple[str, ...]:
    """Settings of a class that it reads inside the LLM alone."""
    return STAGE_2 if issubclass(cls, ToDRE) else ()


def _twin(entry: registry.Entry) -> str:
    """The first method that is the same before the LLM, often the method itself."""
    inside = _inside(entry.cls)
    if not inside:
        return entry.name

    def before_llm(one: registry.Entry) -> dict[str, Any]:
        return {key: value for key, value in one.create().to_dict().items() if key not in inside}

    others = (registry.entry(name) for name in registry.names())
    alike = (other for other in others if other.cls is entry.cls and "select" in other.card.acts)
    return next(other.name for other in alike if before_llm(other) == before_llm(entry))


def served_names() -> list[str]:
    """Names of the methods that can be served by vLLM."""
    return [name for name in registry.names() if why_not(name) is None]


def create(name: str, retain: float, positions: str, options: Mapping[str, Any]) -> Method:
    """Make a method as it is served: stage 1 alone, with a budget for each picture.

    Args:
        name: name of a registered method.
        retain: share or count of the tokens of each picture.
        positions: the positions that kept tokens get in this family.
        options: further settings of the method.

    Raises:
        UnknownMethodError: there is no such method.
        UnsupportedInputError: the method cannot be served by vLLM.
        InvalidValueError: an option is unknown, is settled by vLLM, or has a value that cannot be used.
    """
    check_served(name)
    settings = registry.entry(name).settings
    fixed = {"per": "image", "positions": positions, "stages": (1,)}
    if "retain" in options:
        raise InvalidValueError("The budget is the setting 'retain' beside 'options', not one of them; move it there.")
    settled = next((option for option in options if option in fixed), None)
    if settled is not None:
        raise InvalidValueError(
            f"The option {settled!r} of method {name!r} is settled in vLLM, as {fixed[settled]!r}; leave it out."
        )
    check_names(f"Method {name!r}", "setting", list(options), settings)
    inside = next((option for option in options if option in _inside(registry.entry(name).cls)), None)
    if inside is not None:
        raise InvalidValueError(
            f"The option {inside!r} of method {name!r} is for stage 2, which vLLM does not run; leave it out, or serve "
            "with transformers, as `todre serve` does."
        )
    if options.get("newlines") == "keep":
        raise InvalidValueError(
            "newlines='keep' may need more tokens than a picture's budget, which shows only once it is encoded, and a "
            "failure there ends vLLM's engine; use newlines='last' or 'rank'."
        )
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    chosen = {key: value for key, value in fixed.items() if key in settings}
    return registry.create(name, retain=retain, **chosen, **values)


def name_and_options(method: Method) -> tuple[str, float, dict[str, Any]]:
    """Name, budget and further settings of a method, for a server.

    Settings that vLLM settles, and those of stage 2, which it does not run, are left out.

    Raises:
        UnsupportedInputError: the method cannot be served by vLLM.
    """
    check_served(method.name)
    number_of_tokens(getattr(method, "retain", None))
    if method.per == "frame":
        raise UnsupportedInputError(
            f"{method.name} has per='frame', and vLLM gives each picture and each clip one budget; leave per out, or "
            "serve with transformers, as `todre serve` does."
        )
    values = method.to_dict()
    retain = values.pop("retain")
    settled = ("method", "per", "positions", "stages", *_inside(type(method)))
    return method.name, retain, {name: value for name, value in values.items() if name not in settled}


def number_of_tokens(retain: T | AutoBudget) -> T:
    """A budget that is a number, as it is.

    Raises:
        UnsupportedInputError: the budget is automatic.
    """
    if isinstance(retain, AutoBudget):
        raise UnsupportedInputError(
            f"vLLM asks for the number of tokens before it encodes a picture, so it cannot serve the budget {retain}; "
            "give a number, or serve with transformers, as `todre serve` does."
        )
    return retain


def check_served(name: str) -> None:
    """Check that a registered method can be served by vLLM.

    Raises:
        UnknownMethodError: there is no such method.
        UnsupportedInputError: the method cannot be served by vLLM.
    """
    reason = why_not(name)
    if reason is not None:
        raise UnsupportedInputError(
            f"Method {name!r} cannot be served by vLLM: {reason}; `todre serve` serves it with transformers, and vLLM "
            f"serves {', '.join(served_names())}."
        )
