"""`POST /v1/detect`: one image as the body, or several as multipart/form-data; the answer is `ssd detect`'s JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from singleshot.errors import offer
from singleshot.serve.jobs import ImageResult, Timing
from singleshot.serve.multipart import files_of
from singleshot.serve.problems import MEDIA_TYPE, Problem
from singleshot.serve.service import DetectionService

DEFAULT_SCORE = 0.5
RAW_NAME = "image"
"""What an image is called that is the whole body."""
PARAMETERS = ("score", "classes")
Result = TypeVar("Result")


@dataclass(frozen=True)
class DetectQuery:
    """What the address of a request asks for.

    Attributes:
        score: leave out detections below this.
        classes: keep these alone; None: all.
    """

    score: float
    classes: tuple[str, ...] | None


async def detect_images(request: Request) -> Response:
    """Answer `POST /v1/detect`."""
    service: DetectionService = request.app.state.service
    query = read_query(request.query_params.multi_items(), service)
    service.require_room(1)  # before the body is read
    try:
        files = await _files(request, service.settings.max_images)
        call = service.detect([content for _, content in files], score=query.score, classes=query.classes)
        results = await while_connected(request, call)
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it
    return _response(service.model_name, [name for name, _ in files], results)


def read_query(items: Sequence[tuple[str, str]], service: DetectionService) -> DetectQuery:
    """The parameters of an address, checked.

    Raises:
        Problem: 400; names what is wrong, and what is expected.
    """
    score, classes = DEFAULT_SCORE, list[str]()
    names = [name for name, _ in items]
    for name, value in items:
        if name not in PARAMETERS:
            raise Problem(400, f"unknown parameter {name[:100]!r}; known: {', '.join(PARAMETERS)}")
        if name == "score":
            if names.count("score") > 1:
                raise Problem(400, "score is given more than once")
            score = parse_score(value, service)
        else:
            known = service.detector.spec.class_names
            classes += [value] if value in known else value.split(",")
    return DetectQuery(score, check_classes(classes, service) if "classes" in names else None)


def parse_score(value: str | float, service: DetectionService) -> float:
    """A score threshold of a client. Raises a problem of 400 for what is none, or lower than the model's own."""
    try:
        score = float(value)
    except ValueError:
        score = -1.0
    if not service.min_score <= score <= 1:  # false for NaN
        least = f"{service.min_score:g} (this model's least)"
        raise Problem(400, f"score is a number between {least} and 1, got {str(value)[:100]!r}")
    return score


def check_classes(names: Sequence[str], service: DetectionService) -> tuple[str, ...]:
    """Names of classes of a client. Raises a problem of 400 where the model has none of such a name."""
    known = service.detector.spec.class_names
    for name in names:
        if name not in known:
            raise Problem(400, f"unknown class {name[:100]!r}; {offer(name[:100], known, listed_by='/v1/model')}")
    return tuple(names)


async def while_connected(request: Request, call: Coroutine[Any, Any, Result]) -> Result:
    """The result of a call, which is cancelled as soon as the client goes away; the body must have been read.

    Raises:
        ClientDisconnect: it went away.
    """
    task = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for future in (task, gone):
            future.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _files(request: Request, most: int) -> list[tuple[str, bytes]]:
    """Names and contents of the images in the body.

    Raises:
        Problem: 400 for an empty or malformed body; 413 for too many files.
    """
    content = b"".join([part async for part in request.stream()])
    if not content:
        raise Problem(400, "the body is empty: send the bytes of an image, or several as multipart/form-data")
    content_type = request.headers.get("content-type", "")
    if content_type.strip().lower().startswith("multipart/"):
        # In a thread, as what looks like the boundary again and again takes seconds.
        return await asyncio.to_thread(files_of, content_type, content, most=most)
    return [(RAW_NAME, content)]


def _response(model: str, names: Sequence[str], results: Sequence[ImageResult | Problem]) -> Response:
    if len(results) == 1 and isinstance(results[0], Problem):
        raise results[0]
    entries = [_entry(name, result) for name, result in zip(names, results, strict=True)]
    done = [result for result in results if isinstance(result, ImageResult)]
    if not done:
        problem = Problem(422, "none of the images can be used")
        content = {**problem.to_dict(), "images": entries}
        return JSONResponse(content, status_code=422, media_type=MEDIA_TYPE)
    headers = {"Server-Timing": server_timing([result.timing for result in done])}
    return JSONResponse({"model": model, "images": entries}, headers=headers)


def _entry(name: str, result: ImageResult | Problem) -> dict[str, Any]:
    if isinstance(result, Problem):
        return {"file": name, "error": result.to_dict()}
    width, height = result.size_wh
    entry = {"file": name, "width": width, "height": height, "detections": result.detections.to_dicts()}
    return {**entry, "remarks": list(result.remarks)} if result.remarks else entry


def server_timing(timings: Sequence[Timing]) -> str:
    """The header Server-Timing, in milliseconds: of several images the longest times."""
    longest = {name: max(getattr(timing, name) for timing in timings) for name in ("decode", "queue", "infer")}
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in longest.items())
