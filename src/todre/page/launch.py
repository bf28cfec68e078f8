"""The server of the page: nothing of it leaves the machine, and nothing comes from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from todre.loading.model import Loaded
from todre.page.copies import Running
from todre.serve.gate import App, Gate

MOST_MEGABYTES = 100
"""Largest file that can be dropped on the page."""


def make_application(loaded: Loaded, running: Running, host: str, caution: str = "") -> App:
    """The page as an ASGI application.

    Its fonts are the system's own, and Gradio's telemetry and its links for sharing are off.

    Args:
        loaded: the model that all visitors share.
        running: how it was loaded.
        host: where the server listens; one on the loopback interface answers to names of that interface alone.
        caution: a sentence on what the model's answers are worth.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr
    from fastapi import FastAPI

    from todre.page.handlers import Handlers
    from todre.page.layout import build

    page = build(Handlers(loaded, running), f"todre · {running.model}", caution)
    page.queue(api_open=False, max_size=256, default_concurrency_limit=4)
    theme = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
    application: Any = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        footer_links=[],
        max_file_size=f"{MOST_MEGABYTES}mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css_paths=Path(__file__).parent / "page.css",
    )
    return Gate(application, host, None, lambda status: None)
