"""docs/cli.md says what the commands say, docs/methods.md what the methods say."""

from pathlib import Path

from todre.cli.app import app
from todre.cli.methods_page import page
from todre.cli.reference import reference

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def test_document_is_up_to_date():
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), "run: python -m todre.cli.reference > docs/cli.md"


def test_every_command_and_flag_is_there():
    text = reference()
    for command in app.registered_commands:
        assert f"## todre {command.name or command.callback.__name__}" in text
    for flag in ("--retain", "--method", "--methods", "--overlay", "--json", "--drop-after", "-v"):
        assert f"`{flag}`" in text


def test_page_of_methods_is_up_to_date():
    text = (DOCUMENT.parent / "methods.md").read_text(encoding="utf-8")
    assert text == page(), "run: python -m todre.cli.methods_page > docs/methods.md"
