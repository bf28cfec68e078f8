"""The application: the paths that prune, and one shape for every error."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from todre.loading.model import Loaded
from todre.serve.endpoint import ChatEndpoint
from todre.serve.engine import Engine
from todre.serve.gate import App, Gate
from todre.serve.limits import Limits
from todre.serve.method_choice import MethodChoice
from todre.serve.metrics import CONTENT_TYPE
from todre.serve.refusals import RefusedError, error_body
from todre.serve.transformers_server import KEPT_PATHS, ServedModel, base_application, generation_thread

PATHS = ("/v1/chat/completions", "/v1/models", "/metrics", *KEPT_PATHS)
"""What the server answers to."""


def make_application(
    loaded: Loaded,
    methods: MethodChoice,
    limits: Limits | None = None,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    api_key: str | None = None,
) -> App:
    """The server's ASGI application.

    Args:
        loaded: the model, which belongs to the application from now on.
        methods: the server's method, and what requests can change of it.
        limits: what the server takes; None for the defaults.
        name: the name under which the model is served; None for the name it was loaded by.
        host: where the server will listen.
        api_key: what clients must send; None asks for nothing.

    Raises:
        ContractError: transformers' server is not as todre knows it.
    """
    name = name or loaded.name
    engine = Engine(loaded, generation_thread())
    chat = ChatEndpoint(engine, name, methods, limits or Limits())
    application = base_application(ServedModel(loaded, engine.stop))
    created = int(time.time())
    entry = {"id": name, "object": "model", "created": created, "owned_by": "todre"}

    async def answer(request: Request) -> Response:
        return await chat(request)

    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [entry]})

    async def model(name: str) -> Response:
        if name != entry["id"]:
            error = RefusedError(f"There is no model {name[:100]!r} here.", status=404, code="model_not_found")
            return JSONResponse(error.body(), status_code=404)
        return JSONResponse(entry)

    async def metrics() -> Response:
        return Response(chat.metrics.page(), media_type=CONTENT_TYPE)

    application.add_api_route("/v1/chat/completions", answer, methods=["POST"], response_model=None)
    application.add_api_route("/v1/models", models, methods=["GET"], response_model=None)
    application.add_api_route("/v1/models/{name:path}", model, methods=["GET"], response_model=None)
    application.add_api_route("/metrics", metrics, methods=["GET"], response_model=None)
    application.add_exception_handler(AnyHTTPException, _not_here)
    application.add_exception_handler(HTTPException, _not_here)
    return Gate(application, host, api_key, chat.metrics.ended)


async def _not_here(request: Request, error: Any) -> Response:
    """OpenAI's shape for paths and methods that are not offered."""
    message = (
        f"There is no {request.method} {request.url.path[:100]} here; this server answers to {', '.join(PATHS)}."
        if error.status_code in (404, 405)
        else str(error.detail)
    )
    return JSONResponse(error_body(message, error.status_code), status_code=error.status_code)
