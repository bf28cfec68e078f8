"""Records of options: their fields become a command's options, and come back as the record."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from cli.everything import commands

from todre.cli.option_records import OptionRecord, Trailing, Without, expand

Size = Annotated[int, typer.Option("--size")]
Loud = Annotated[bool, typer.Option("--loud"), Trailing()]


@dataclass(frozen=True)
class Picture(OptionRecord):
    loud: Loud = False
    size: Size = 8
    name: Annotated[str, typer.Option("--name")] = "a"


@dataclass(frozen=True)
class NamedPicture(Picture):
    name: Annotated[str, typer.Option("--title")] = "b"


def draw(
    file: Annotated[str, typer.Argument()],
    picture: Picture = Picture(size=9),
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Draw it."""
    drawn.append((file, picture, seed))


def bare(picture: Annotated[Picture, Without("name")] = Picture(name="kept")) -> None:
    drawn.append(picture)


def titled(picture: NamedPicture = NamedPicture()) -> None:
    drawn.append(picture)


drawn = []


@pytest.fixture(autouse=True)
def _none_drawn():
    drawn.clear()


def parameters(command):
    return inspect.signature(expand(command)).parameters


def test_fields_stand_in_the_place_of_their_record_and_trailing_ones_last():
    assert list(parameters(draw)) == ["file", "size", "name", "seed", "loud"]


def test_defaults_are_those_of_the_commands_own_instance():
    found = parameters(draw)
    assert found["file"].default is inspect.Parameter.empty
    assert [found[name].default for name in ("size", "name", "seed", "loud")] == [9, "a", 0, False]


def test_the_command_gets_the_record_back():
    expand(draw)(file="f", size=3, name="n", seed=4, loud=True)
    assert drawn == [("f", Picture(loud=True, size=3, name="n"), 4)]


def test_a_field_that_is_not_offered_keeps_its_default():
    assert list(parameters(bare)) == ["size", "loud"]
    expand(bare)(size=1, loud=False)
    assert drawn == [Picture(size=1, name="kept")]


def test_a_record_may_word_an_inherited_option_anew():
    app = typer.Typer()
    app.command()(expand(titled))
    options = {parameter.name: parameter for parameter in typer.main.get_command(app).params}
    assert options["name"].opts == ["--title"]
    assert list(options)[:3] == ["size", "name", "loud"]


def test_name_and_help_of_the_command_stay():
    assert (expand(draw).__name__, expand(draw).__doc__) == ("draw", "Draw it.")


@pytest.mark.parametrize("name", commands())
def test_no_command_takes_a_record_as_an_option(name):
    """Every command was expanded: its defaults are values, not records."""
    assert not any(isinstance(parameter.default, OptionRecord) for parameter in commands()[name].params)
