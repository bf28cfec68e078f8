"""A server of the shipped model on a free port, in a thread of this process, and clients of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve.pictures import scene_url

import todre
from todre.loading import load
from todre.serve.application import make_application
from todre.serve.launch import Place, make_server
from todre.serve.limits import Limits
from todre.serve.method_choice import MethodChoice

NAME = "todre-tiny"
RETAIN = 0.1


@dataclass
class Served:
    """A server that runs, and how to reach it."""

    url: str
    server: object
    thread: threading.Thread
    clients: list[openai.OpenAI] = field(default_factory=list)

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def client(self, **options) -> openai.OpenAI:
        made = openai.OpenAI(**{"base_url": self.url, "api_key": "none", "max_retries": 0, "timeout": 120} | options)
        self.clients.append(made)
        return made

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Samples by name and values of labels."""
        import urllib.request

        page = urllib.request.urlopen(f"{self.root}/metrics", timeout=30).read().decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


def start(loaded, limits=None, method=None, guard=None, **options) -> Served:
    """A server that answers when this returns."""
    place = Place(port=0)
    opened = place.open()
    choice = MethodChoice(method=method or todre.ToDRE(retain=RETAIN), retain=RETAIN, guard=guard)
    server = make_server(make_application(loaded, choice, limits, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    url = place.listen(opened)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    return Served(url, server, thread)


@pytest.fixture(scope="session")
def served_model():
    return load(device="cpu")


@pytest.fixture(scope="session")
def reference():
    """Another copy of the model, for answers that no server gives."""
    return load(device="cpu")


@pytest.fixture(scope="module")
def served(served_model):
    running = start(served_model, Limits(max_new_tokens=64, max_pictures=4))
    yield running
    running.stop()


@pytest.fixture
def client(served):
    return served.client()


@pytest.fixture
def ask(client):
    """ask("What color …?", seeds of scenes) → the completion."""

    def call(question, *seeds, **options):
        content = [{"type": "image_url", "image_url": {"url": scene_url(seed)}} for seed in seeds]
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        return client.chat.completions.create(**{"model": NAME, "messages": messages, "max_tokens": 16} | options)

    return call
