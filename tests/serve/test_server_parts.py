"""What todre takes from transformers' server is there; where it is not, one sentence says so."""

from __future__ import annotations

import inspect
import threading

import pytest
from transformers.cli.serving import server, utils

from todre.errors import ContractError, MissingDependencyError, TodreError
from todre.methods import registry
from todre.serve import packages, transformers_server
from todre.serve.launch import Place, try_method
from todre.serve.method_choice import MethodChoice
from todre.serve.transformers_server import KEPT_PATHS, ServedModel, base_application, check_server, generation_thread


def test_none_but_the_kept_paths_stay(served_model):
    application = base_application(ServedModel(served_model, lambda: None))
    assert [route.path for route in application.router.routes] == list(KEPT_PATHS)


def test_the_manager_has_one_model(served_model):
    ended = []
    manager = ServedModel(served_model, lambda: ended.append(True))
    assert manager.load_model_and_processor("any@main") == (served_model.model, served_model.processor)
    manager.shutdown()
    assert ended == [True]


def other_builder(kept, added=()):
    """A function with another signature than today's `build_server`."""
    parameters = [each for name, each in inspect.signature(server.build_server).parameters.items() if name in kept]
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in added]

    def build(**arguments):
        raise AssertionError("it was called")

    build.__signature__ = inspect.Signature([*parameters, *added])
    return build


@pytest.mark.parametrize(("kept", "added", "word"), [
    (("model_manager",), (), "'generation_state'"),
    (("generation_state",), (), "'model_manager'"),
    (("model_manager", "generation_state"), ("secret",), "'secret'"),
])  # fmt: skip
def test_another_release_is_refused_in_one_sentence(served_model, monkeypatch, kept, added, word):
    monkeypatch.setattr(transformers_server, "build_server", other_builder(kept, added))
    with pytest.raises(ContractError, match=word) as caught:
        base_application(ServedModel(served_model, lambda: None))
    with pytest.raises(ContractError, match=word):
        check_server()
    assert "Install a release that is tested" in str(caught.value)


def test_a_release_without_the_thread_is_refused(monkeypatch):
    monkeypatch.delattr(utils.GenerateManager, "submit")
    for needs_it in (generation_thread, check_server):
        with pytest.raises(ContractError, match="submit"):
            needs_it()


def test_calls_run_one_after_another_on_one_thread():
    submit, seen, done = generation_thread(), [], threading.Event()
    for number in range(50):
        submit(lambda number=number: seen.append((number, threading.get_ident())))
    submit(done.set)
    assert done.wait(30)
    assert [number for number, _ in seen] == list(range(50))
    assert len({thread for _, thread in seen}) == 1


def test_absent_packages_are_named(monkeypatch):
    packages.require_packages()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("fastapi", "openai") else name)
    with pytest.raises(MissingDependencyError, match=r"fastapi, openai.*todre\[serve\]"):
        packages.require_packages()


# -- what fails before anybody asks ------------------------------------------------------------------------------------


def test_a_port_in_use():
    with Place(port=0).open() as opened:
        opened.listen()
        with pytest.raises(TodreError, match="is in use; give another"):
            Place(port=opened.getsockname()[1]).open()


def test_a_host_that_is_not_here():
    for host in ("203.0.113.7", "no.such.host.invalid"):
        with pytest.raises(TodreError, match="is no name or address of this machine"):
            Place(host=host, port=0).open()


def test_a_method_that_is_not_possible(served_model):
    try_method(served_model, MethodChoice(method=registry.create("todre")))
    with pytest.raises(TodreError):
        try_method(served_model, MethodChoice(method=registry.create("fastv", layer=99)))
    try_method(served_model, MethodChoice(method=registry.create("todre")))
