"""The OpenAPI document says what the server does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import fuzz_serve
import httpx
import pytest
from starlette.routing import Route

from singleshot import Detector
from singleshot.serve.app import create_app
from singleshot.serve.openapi import openapi_document
from singleshot.serve.settings import ServeSettings

PAGES = {"/", "/static/{name:path}", "/openapi.json"}


def document(**settings: Any) -> dict[str, Any]:
    return openapi_document("tiny", ServeSettings(**settings), min_score=0.01)


def test_every_route_is_documented_and_nothing_else() -> None:
    app = create_app(Detector.load(), ServeSettings())
    routes = {route.path: route.methods for route in app.routes if isinstance(route, Route)}
    documented = {path: {name.upper() for name in item} - {"PARAMETERS"} for path, item in document()["paths"].items()}
    assert {path: methods - {"HEAD"} for path, methods in routes.items() if path not in PAGES} == documented


def test_no_route_takes_an_address_or_manages_models() -> None:
    content = document()
    words = " ".join([*content["paths"], *named(content)]).lower()
    assert "binary_data" in words
    assert not [word for word in ("url", "uri", "load", "repository", "filename") if word in words]


def named(content: Any) -> list[str]:
    """All names of parameters and of fields."""
    if isinstance(content, list):
        return [name for item in content for name in named(item)]
    if not isinstance(content, dict):
        return []
    own = [content["name"]] if isinstance(content.get("name"), str) else []
    return own + list(content.get("properties", {})) + [name for item in content.values() for name in named(item)]


def test_every_reference_leads_somewhere() -> None:
    content = document()
    names = {part.partition('"')[0] for part in json.dumps(content).split("#/components/schemas/")[1:]}
    assert names == set(content["components"]["schemas"])


def test_limits_and_token_are_those_of_the_settings() -> None:
    content = document(max_images=3, token="secret")  # noqa: S106
    assert content["security"] == [{"token": []}]
    assert '"maxItems": 3' in json.dumps(content["paths"]["/v1/detect"])
    assert "secret" not in json.dumps(content)
    assert "security" not in document()


def test_the_example_is_answered() -> None:
    async def work() -> httpx.Response:
        app = create_app(Detector.load(), ServeSettings(decoders=1))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):
            content = (await client.get("/openapi.json")).json()
            (path,) = (path for path in content["paths"] if path.endswith("{model}/infer"))
            operation = content["paths"][path]
            model = operation["parameters"][0]["schema"]["enum"][0]
            body = operation["post"]["requestBody"]["content"]["application/json"]["example"]
            return await client.post(path.format(model=model), json=body)

    response = asyncio.run(work())
    assert response.status_code == 200
    assert [output["name"] for output in response.json()["outputs"]] == ["boxes"]


@pytest.mark.slow
def test_generated_requests_are_answered_as_documented() -> None:
    result = fuzz_serve.fuzz(100, seed=1, examples=5)
    assert result.faults == ()
    assert result.cases >= 100
    assert set(result.by_status) >= {"200", "400"}
