"""The routes of the Open Inference Protocol: metadata, readiness and `infer`. No model is loaded or unloaded here."""

from __future__ import annotations

import asyncio
from importlib import metadata

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from singleshot.errors import RequestError
from singleshot.serve.detect_route import DEFAULT_SCORE, check_classes, parse_score, server_timing, while_connected
from singleshot.serve.jobs import ImageResult
from singleshot.serve.open_inference import (
    HEADER_LENGTH,
    MODEL_PATHS,
    InferenceRequest,
    answer,
    model_metadata,
    parse_request,
    server_metadata,
)
from singleshot.serve.problems import Problem
from singleshot.serve.service import DetectionService


def open_inference_routes() -> list[Route]:
    """Everything below `/v2` but the server's health."""
    routes = [Route("/v2", _server, methods=["GET"])]
    for path in MODEL_PATHS:
        routes.append(Route(path, _model, methods=["GET"]))
        routes.append(Route(f"{path}/ready", _model_ready, methods=["GET"]))
        routes.append(Route(f"{path}/infer", _infer, methods=["POST"]))
    return routes


async def _server(_request: Request) -> Response:
    return JSONResponse(server_metadata(metadata.version("singleshot")))


async def _model(request: Request) -> Response:
    return JSONResponse(model_metadata(_service(request).model_name))


async def _model_ready(request: Request) -> Response:
    service = _service(request)
    service.require_ready()
    return JSONResponse({"name": service.model_name, "ready": True})


async def _infer(request: Request) -> Response:
    service = _service(request)
    length = request.headers.get(HEADER_LENGTH)
    service.require_room(1)  # before the body is read
    try:
        body = await request.body()
        # In a thread, so that numbers by the hundred thousand do not keep other requests waiting.
        asked = await asyncio.to_thread(parse_request, body, length, max_images=service.settings.max_images)
        results = await while_connected(request, _detect(service, asked))
    except RequestError as error:
        raise Problem(400, str(error)) from None
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it
    content, length_of_json = answer(asked, service.model_name, [result.detections for result in results])
    headers = {"Server-Timing": server_timing([result.timing for result in results])}
    if length_of_json is None:
        return Response(content, media_type="application/json", headers=headers)
    headers[HEADER_LENGTH] = str(length_of_json)
    return Response(content, media_type="application/octet-stream", headers=headers)


async def _detect(service: DetectionService, asked: InferenceRequest) -> list[ImageResult]:
    """The result of every image: the protocol has no place for the error of one of them.

    Raises:
        Problem: of the request, or of the first image that has one.
    """
    score = DEFAULT_SCORE if asked.score is None else parse_score(asked.score, service)
    classes = None if asked.classes is None else check_classes(asked.classes, service)
    limit = service.settings.deadline
    deadline = limit if asked.timeout is None else min(asked.timeout, limit)
    results = await service.detect(asked.images, score=score, classes=classes, deadline=deadline)
    done = list[ImageResult]()
    for place, result in enumerate(results):
        if isinstance(result, Problem):
            raise Problem(result.status, f"image {place}, from 0: {result.detail}", result.headers)
        done.append(result)
    return done


def _service(request: Request) -> DetectionService:
    """The service, if it has the model that the path names."""
    service: DetectionService = request.app.state.service
    name = request.path_params["model"]
    if name != service.model_name:
        raise Problem(404, f"unknown model {name[:100]!r}; this server has {service.model_name!r}")
    return service
