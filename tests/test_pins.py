"""The environment that the tests run in holds the pinned versions, all of them and nothing else."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions
from pathlib import Path

import transformers
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from todre.hf.versions import REQUIRED

_ROOT = Path(__file__).parent.parent
_BUILDS = frozenset({"hatchling", "editables", "tomlkit", "trove-classifiers"})
"""Pinned for the build of todre itself, which happens in an environment of its own."""


def _pins(name: str) -> dict[str, str]:
    """The versions that a file of constraints asks for here."""
    lines = (_ROOT / name).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(len(one.specifier) == 1 and str(one.specifier).startswith("==") for one in requirements)
    return {
        canonicalize_name(one.name): str(one.specifier)[2:]
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }


def _expected() -> dict[str, str]:
    lowest = _pins("constraints-lowest.txt")
    return lowest if transformers.__version__ == lowest["transformers"] else _pins("constraints.txt")


def _installed() -> dict[str, str]:
    found = {canonicalize_name(one.metadata["Name"]): Version(one.version).public for one in distributions()}
    return {name: version for name, version in found.items() if name != "todre"}


def test_what_is_installed_is_what_is_pinned() -> None:
    pins = _expected()
    unlike = {name: (version, pins.get(name)) for name, version in _installed().items() if pins.get(name) != version}
    assert not unlike, f"installed, pinned: {unlike}; make a fresh environment, or run `make pins`"


def test_what_is_pinned_is_installed_but_for_the_build_and_cuda() -> None:
    import torch

    missing = _expected().keys() - _installed().keys() - _BUILDS
    if "+cpu" in torch.__version__:
        missing -= {name for name in missing if name.startswith(("nvidia-", "cuda-"))} | {"triton"}
    assert not missing


def test_the_documentation_is_built_with_the_versions_of_the_tests_where_they_share_a_package() -> None:
    docs, tests = _pins("constraints-docs.txt"), _pins("constraints.txt")
    assert {name for name in docs.keys() & tests.keys() if docs[name] != tests[name]} == set()


def test_everything_that_builds_the_documentation_is_pinned() -> None:
    groups = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    for line in groups["docs"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(_pins("constraints-docs.txt")[canonicalize_name(wanted.name)]), line


def _dependencies() -> list[str]:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def test_errors_name_the_releases_that_the_package_asks_for() -> None:
    assert REQUIRED in _dependencies()


def test_the_requirement_ends_at_the_minor_release_that_is_pinned() -> None:
    """A later one is let in by a tested commit, not by the day it comes out."""
    (wanted,) = (Requirement(line) for line in _dependencies() if line.startswith("transformers"))
    release = Version(_pins("constraints.txt")["transformers"])
    assert wanted.specifier.contains(str(release))
    assert not wanted.specifier.contains(f"{release.major}.{release.minor + 1}.0")
    assert str(release.minor + 1) in str(wanted.specifier)


def test_every_requirement_of_the_package_is_pinned() -> None:
    for line in _dependencies():
        wanted = Requirement(line)
        for name in ("constraints.txt", "constraints-lowest.txt"):
            assert wanted.specifier.contains(_pins(name)[canonicalize_name(wanted.name)]), (name, line)
