"""Every family's modelling file keeps the promises that the runtime is built on."""

from __future__ import annotations

import pytest
from contract.promises import PROMISES, Promise
from contract.recording import Recording, record
from families.specimens import all_specimens, refused_variants
from upstream import CLIPS, PICTURES

from todre.hf.families import FAMILIES


def cases():
    """Each family once, pictures and clips apart."""
    seen = set()
    for specimen in all_specimens():
        name = specimen.model_type
        if name not in FAMILIES or name in seen or specimen.name in refused_variants():
            continue
        seen.add(name)
        for kind in ("image", "video") if specimen.video else ("image",):
            marks = [CLIPS[name].mark] if kind == "video" and name in CLIPS else []
            marks += [PICTURES[name].mark] if name in PICTURES else []
            yield pytest.param(specimen, kind, id=f"{name}-{kind}", marks=marks)


def sentence(promise: Promise) -> str:
    return (promise.__doc__ or "").strip().splitlines()[0]


def broken(promise: Promise, seen: Recording) -> str | None:
    try:
        promise(seen)
    except Exception as error:  # a promise about a name breaks with whatever its absence raises
        return f"no longer true: {sentence(promise)} ({type(error).__name__}: {error})"
    return None


@pytest.mark.parametrize(("specimen", "kind"), cases())
def test_promises_are_kept(specimen, kind):
    seen = record(specimen, kind)
    found = [complaint for promise in PROMISES if (complaint := broken(promise, seen)) is not None]
    assert not found, "\n".join([f"{specimen.name}, {kind}:", *found])


@pytest.mark.parametrize("promise", PROMISES, ids=lambda one: one.__name__)
def test_each_promise_is_a_sentence_that_names_its_room(promise):
    assert sentence(promise).endswith(".py].")
