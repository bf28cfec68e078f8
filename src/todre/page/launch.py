"""The server of the page, which loads nothing from elsewhere."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

import uvicorn

from todre.loading.model import Loaded
from todre.methods.base import NoPruning
from todre.page.copies import Running
from todre.page.examples import EXAMPLES
from todre.page.notices import Notices
from todre.running import Settings, answer
from todre.serve.gate import Gate
from todre.serve.launch import make_server

MOST_MEGABYTES = 100
"""Largest file that can be dropped on the page."""


class PageServer(uvicorn.Server):
    """The page's HTTP server, which hangs up on open pages when it is told to end.

    Args:
        page: from `make_page`.
        host: where it listens; on the loopback interface it answers to names of that interface alone.
        access_log: whether each request is logged on stderr.
    """

    def __init__(self, page: Any, host: str, access_log: bool = False) -> None:
        super().__init__(make_server(Gate(page, host, None, lambda status: None), access_log=access_log).config)
        self._page = page

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; what is cut off by that is no error."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        for route in self._page.routes:
            ending = getattr(getattr(route, "app", None), "stop_event", None)
            if ending is not None:
                ending.set()
        await super().shutdown(sockets)


def make_page(loaded: Loaded, running: Running, notices: Notices, caution: str = "") -> Any:
    """The page as an ASGI application.

    Its fonts are the system's own, and Gradio's telemetry and its links for sharing are off.

    Args:
        loaded: the model that all visitors share.
        running: how it was loaded.
        notices: tells warnings to visitors, while it hears them.
        caution: a sentence on what the model's answers are worth.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr
    from fastapi import FastAPI

    from todre.page.handlers import Handlers
    from todre.page.layout import build

    page = build(Handlers(loaded, running, notices), f"todre · {running.model}", caution)
    page.queue(api_open=False, max_size=256, default_concurrency_limit=4)
    theme = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=f"{MOST_MEGABYTES}mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css_paths=Path(__file__).parent / "page.css",
    )


def warm_up(loaded: Loaded) -> None:
    """Answer one word about an example.

    So the first visitor's times are like all others.

    Raises:
        TodreError: the model cannot be pruned, or cannot answer; it is better told before anybody asks.
    """
    first = EXAMPLES[0]
    answer(loaded, [first.open()], first.question, NoPruning(), Settings(max_new_tokens=1))
