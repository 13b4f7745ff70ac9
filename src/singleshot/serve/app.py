"""The server as an ASGI application: its routes, and the one format of its errors."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from singleshot import photographs
from singleshot.runtime.detector import Detector
from singleshot.serve.detect_route import DEFAULT_SCORE, detect_images
from singleshot.serve.gate import Gate
from singleshot.serve.metrics import Metrics
from singleshot.serve.open_inference_routes import open_inference_routes
from singleshot.serve.openapi import openapi_document
from singleshot.serve.problems import Problem
from singleshot.serve.service import DetectionService
from singleshot.serve.settings import ServeSettings

PAGE = Path(__file__).parent / "page"
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Of the page's files. The machine's own table may call a script plain text, and browsers would refuse it."""


def create_app(detector: Detector, settings: ServeSettings) -> Starlette:
    """The server of one model.

    Its lifespan starts and ends decoders and threads. `app.state.service` is the `DetectionService`,
    `app.state.metrics` the `Metrics`.

    Args:
        detector: the model, loaded; it is not read from the disk again.
        settings: whom the server answers, and limits.
    """
    service = DetectionService(detector, settings)
    metrics = Metrics(service)
    service.on_image = metrics.count_image

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = Starlette(
        routes=[
            Route("/v1/detect", detect_images, methods=["POST"]),
            Route("/v1/model", _model, methods=["GET"]),
            Route("/v2/health/live", _live, methods=["GET"]),
            Route("/v2/health/ready", _ready, methods=["GET"]),
            *open_inference_routes(),
            Route("/openapi.json", _openapi, methods=["GET"]),
            Route("/metrics", _metrics, methods=["GET"]),
            Route("/", _static, methods=["GET"]),
            Route("/static/{name:path}", _static, methods=["GET"]),
        ],
        middleware=[Middleware(Gate, settings=settings, on_response=metrics.count)],
        exception_handlers={Problem: _problem, HTTPException: _http_exception, Exception: _fault},
        lifespan=lifespan,
    )
    app.state.service, app.state.metrics, app.state.files = service, metrics, static_files()
    return app


def static_files() -> dict[str, Response]:
    """The page's files and the photographs to try it with, read once, by their names under `/static/`."""
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.suffix in MEDIA_TYPES}
    files |= {f"photographs/{photograph.path.name}": photograph.path for photograph in photographs.PHOTOGRAPHS}
    headers = {"Cache-Control": "no-cache"}
    return {
        name: Response(path.read_bytes(), media_type=MEDIA_TYPES[path.suffix], headers=headers)
        for name, path in files.items()
    }


async def _static(request: Request) -> Response:
    response: Response | None = request.app.state.files.get(request.path_params.get("name", "index.html"))
    if response is None:
        raise Problem(404, "there is no such file")
    return response


async def _model(request: Request) -> Response:
    service: DetectionService = request.app.state.service
    spec, settings = service.detector.spec, service.settings
    height, width = spec.input_size_hw
    return JSONResponse(
        {
            "name": service.model_name,
            "classes": list(spec.class_names),
            "input_size": [width, height],
            "default_score": DEFAULT_SCORE,
            "min_score": service.min_score,
            "max_body_bytes": settings.max_body_bytes,
            "max_megapixels": settings.max_megapixels,
            "max_images": settings.max_images,
        }
    )


async def _live(_request: Request) -> Response:
    return JSONResponse({"live": True})


async def _ready(request: Request) -> Response:
    request.app.state.service.require_ready()
    return JSONResponse({"ready": True})


async def _openapi(request: Request) -> Response:
    service: DetectionService = request.app.state.service
    return JSONResponse(openapi_document(service.model_name, service.settings, min_score=service.min_score))


async def _metrics(request: Request) -> Response:
    content, media_type = request.app.state.metrics.exposition()
    return Response(content, media_type=media_type)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request.url.path)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else _usual_detail(error.status_code)
    return Problem(error.status_code, detail, error.headers).response(request.url.path)


def _usual_detail(status: int) -> str:
    return {404: "there is nothing at this path", 405: "this path does not take this method"}.get(status, "")


async def _fault(request: Request, _error: Exception) -> Response:
    return Problem(500, "a fault of the server; its log tells more").response(request.url.path)
