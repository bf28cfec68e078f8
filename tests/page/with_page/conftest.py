"""A page that `todre page` serves, and a real browser to look at it."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


LEAVING = """
import sys

def hear(event, arguments):
    if event not in ("socket.connect", "socket.getaddrinfo"):
        return
    place = arguments[1] if event == "socket.connect" else arguments
    host = place[0] if isinstance(place, tuple) else place
    host = host.decode() if isinstance(host, bytes) else host
    if isinstance(host, str) and not host.startswith(("127.", "::1", "localhost", "/")):
        print("LEFT THE MACHINE", event, place, file=sys.stderr, flush=True)

sys.addaudithook(hear)
from todre.cli import main
main()
"""
"""`todre`, which says on stderr when it asks another machine."""


def served(browser, *options):
    """The address of a page in a process of its own, as a user starts it, and ends it: with Ctrl-C, a page open."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVING, "page", "--port", "0", "--device", "cpu", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
    reader.start()
    line = process.stdout.readline()
    assert " at http://127.0.0.1:" in line, line + "".join(said)
    place = line.rpartition(" ")[2].strip()
    yield place
    left_open = browser.new_page()
    left_open.goto(place)
    left_open.wait_for_selector("#preview img")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    reader.join(10)
    assert [line for line in said if "todre-tiny" not in line] == ["interrupted\n"]


@pytest.fixture(scope="session")
def address(browser):
    yield from served(browser)


@pytest.fixture(scope="module")
def clips_address(browser):
    """A page of a model that takes clips."""
    yield from served(browser, "-m", "todre-tiny-video")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
