"""Errors as clients get them: problem details of RFC 9457, `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from singleshot.errors import ImageError, ImageFormatError, ImageSizeError

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818  (the name of RFC 9457)
    """Why a request, or one image of it, is not answered.

    Attributes:
        status: of HTTP.
        detail: one line: what was expected, what came, what to do.
        headers: for the response.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    def to_dict(self) -> dict[str, Any]:
        """The members of RFC 9457; the type `about:blank` says that the status tells the kind."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }

    def response(self, path: str = "") -> JSONResponse:
        """The problem as a response to a request for this path.

        Below `/v2` the member `error` says it, too: clients of the Open Inference Protocol read that one.
        """
        content = self.to_dict()
        if path.startswith("/v2"):
            content["error"] = self.detail
        return JSONResponse(content, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE)


def problem_of_image(error: ImageError) -> Problem:
    """413 for too many pixels, 415 for a format that is not read, else 422."""
    status = 413 if isinstance(error, ImageSizeError) else 415 if isinstance(error, ImageFormatError) else 422
    message = str(error).removeprefix("image: ")
    if status == 413:
        message = message.partition(";")[0]  # what follows is advice to whoever runs the server
    return Problem(status, message)
