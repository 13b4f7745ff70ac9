"""`POST /v1/detect` and its neighbours, in one process with the application but for the decoders."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from singleshot import Detector
from singleshot.photographs import PHOTOGRAPHS
from singleshot.serve.app import create_app
from singleshot.serve.settings import ServeSettings

CAT = next(photograph.path for photograph in PHOTOGRAPHS if photograph.name == "chelsea")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def with_client(detector: Detector, work: Callable[[httpx.AsyncClient, Any], Awaitable[None]], **settings: Any) -> None:
    """Run `work` with a client of a started application, and the application."""

    async def run() -> None:
        app = create_app(detector, ServeSettings(**{"decoders": 1, **settings}))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            await work(client, app)

    asyncio.run(run())


def require_problem(response: httpx.Response, status: int, token: str) -> None:
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json()) >= {"type", "title", "status", "detail"}
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert token in response.json()["detail"]


def test_an_image_as_the_body_gives_the_json_of_ssd_detect(detector: Detector) -> None:
    async def work(client: httpx.AsyncClient, _app: Any) -> None:
        response = await client.post("/v1/detect", content=CAT.read_bytes())
        expected = next(iter(detector.stream([CAT] * 3)))[2].above(0.5)
        assert response.json() == {
            "model": "ssd320-lite",
            "images": [{"file": "image", "width": 451, "height": 300, "detections": expected.to_dicts()}],
        }
        assert [part.split(";")[0] for part in response.headers["server-timing"].split(", ")] == [
            "decode",
            "queue",
            "infer",
        ]

    with_client(detector, work)


def test_of_several_files_a_bad_one_has_its_problem_in_its_place(detector: Detector) -> None:
    async def work(client: httpx.AsyncClient, _app: Any) -> None:
        files = [
            ("a", ("cat.jpg", CAT.read_bytes())),
            ("a", ("<b>.txt", b"text")),
            ("a", ("cut.jpg", CAT.read_bytes()[:5000])),
        ]
        response = await client.post("/v1/detect?classes=cat", files=files)
        assert response.status_code == 200
        cat, text, cut = response.json()["images"]
        assert [found["label"] for found in cat["detections"]] == ["cat"]
        assert (text["file"], text["error"]["status"]) == ("<b>.txt", 415)
        assert (cut["file"], cut["error"]["status"]) == ("cut.jpg", 422)
        all_bad = await client.post("/v1/detect", files=files[1:])
        require_problem(all_bad, 422, "none of the images")
        assert len(all_bad.json()["images"]) == 2

    with_client(detector, work)


def test_requests_that_are_wrong_get_a_problem(detector: Detector) -> None:
    async def work(client: httpx.AsyncClient, _app: Any) -> None:
        cat = CAT.read_bytes()
        require_problem(await client.post("/v1/detect", content=b""), 400, "empty")
        require_problem(await client.post("/v1/detect", content=b"<html>"), 415, "HTML")
        require_problem(await client.post("/v1/detect", content=cat[:9000]), 422, "truncated")
        require_problem(await client.post("/v1/detect?score=2", content=cat), 400, "score")
        require_problem(await client.post("/v1/detect?score=nan", content=cat), 400, "score")
        require_problem(await client.post("/v1/detect?score=0.001", content=cat), 400, "0.01")
        require_problem(await client.post("/v1/detect?score=0.5&score=0.6", content=cat), 400, "once")
        require_problem(await client.post("/v1/detect?classes=cat,dgo", content=cat), 400, "dgo")
        require_problem(await client.post("/v1/detect?scoer=1", content=cat), 400, "scoer")
        require_problem(await client.post("/v1/detect", data={"a": "b"}, files={"c": cat}), 400, "file")
        gzip = {"Content-Encoding": "gzip"}
        require_problem(await client.post("/v1/detect", content=cat, headers=gzip), 415, "gzip")
        files = [("a", ("cat.jpg", cat))] * 17
        require_problem(await client.post("/v1/detect", files=files), 413, "more than 16")
        unfinished = b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\ncat"
        boundary = {"Content-Type": "multipart/form-data; boundary=x"}
        require_problem(await client.post("/v1/detect", content=unfinished, headers=boundary), 400, "within")
        require_problem(await client.post("/v1/detect", content=b"--x--\r\n", headers=boundary), 400, "no file")
        multipart = {"Content-Type": "multipart/form-data"}
        require_problem(await client.post("/v1/detect", content=cat, headers=multipart), 400, "boundary")
        require_problem(await client.get("/v1/detect"), 405, "method")
        require_problem(await client.get("/nothing"), 404, "path")
        require_problem(await client.get("/static/..%2fapp.py"), 404, "file")

    with_client(detector, work)


def test_a_large_body_is_refused_by_its_length_and_while_it_comes(detector: Detector) -> None:
    async def work(client: httpx.AsyncClient, _app: Any) -> None:
        async def parts() -> Any:
            for _ in range(100):
                yield bytes(1000)

        require_problem(await client.post("/v1/detect", content=bytes(20_001)), 413, "20,000")
        require_problem(await client.post("/v1/detect", content=parts()), 413, "20,000")

    with_client(detector, work, max_body_bytes=20_000)


def test_a_form_that_takes_long_to_read_keeps_nobody_waiting(detector: Detector) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    form = head + b"\r\n--bx" * 200_000 + b"\r\n--b--\r\n"

    async def work(client: httpx.AsyncClient, _app: Any) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        slow = asyncio.create_task(client.post("/v1/detect", content=form, headers=headers))
        healthy = 0
        while not slow.done():
            assert (await client.get("/v2/health/live")).status_code == 200
            healthy += 1
            await asyncio.sleep(0.001)
        assert healthy >= 3  # one, where reading the form holds up the event loop
        require_problem(slow.result(), 415, "bytes")

    with_client(detector, work)


def test_an_image_of_too_many_pixels_is_refused(detector: Detector) -> None:
    async def work(client: httpx.AsyncClient, _app: Any) -> None:
        require_problem(await client.post("/v1/detect", content=CAT.read_bytes()), 413, "megapixels")

    with_client(detector, work, max_megapixels=0.1)


def test_foreign_hosts_origins_and_missing_tokens_are_refused(detector: Detector) -> None:
    async def work(client: httpx.AsyncClient, _app: Any) -> None:
        async def ask(path: str = "/v1/model", **headers: str) -> httpx.Response:
            return await client.get(path, headers=headers)

        token = {"Authorization": "Bearer secret"}
        require_problem(await ask(Host="evil.example", **token), 421, "evil.example")
        require_problem(await ask(Origin="http://evil.example", **token), 403, "evil.example")
        require_problem(await ask(), 401, "Bearer")
        require_problem(await ask(Authorization="Bearer secreT"), 401, "Bearer")
        assert (await ask(Origin="http://localhost", **token)).status_code == 200
        assert (await ask("/v2/health/ready")).status_code == 200
        assert "access-control-allow-origin" not in (await ask(**token)).headers

    with_client(detector, work, token="secret")  # noqa: S106


def test_pixels_and_files_go_through_the_service_alike(detector: Detector) -> None:
    from singleshot.decode import decode_image

    async def work(_client: httpx.AsyncClient, app: Any) -> None:
        of_file, of_pixels = await app.state.service.detect([CAT.read_bytes(), decode_image(CAT)], score=0.1)
        np.testing.assert_array_equal(of_file.detections.boxes, of_pixels.detections.boxes)
        np.testing.assert_array_equal(of_file.detections.scores, of_pixels.detections.scores)

    with_client(detector, work)


def test_what_is_counted(detector: Detector) -> None:
    async def work(client: httpx.AsyncClient, app: Any) -> None:
        cat = CAT.read_bytes()
        await client.post(
            "/v1/detect", files=[("a", ("cat.jpg", cat)), ("b", ("cut.jpg", cat[:5000])), ("c", ("d", b"e"))]
        )
        await client.post("/v1/detect", content=cat)
        await client.post("/v1/detect", content=b"")
        await client.get("/no/such/path")
        lines = set((await client.get("/metrics")).text.splitlines())
        assert lines >= {
            'singleshot_requests_total{path="/v1/detect",status="200"} 2.0',
            'singleshot_requests_total{path="/v1/detect",status="400"} 1.0',
            'singleshot_requests_total{path="other",status="404"} 1.0',
            'singleshot_images_total{status="200"} 2.0',
            'singleshot_images_total{status="422"} 1.0',
            'singleshot_images_total{status="415"} 1.0',
            'singleshot_image_seconds_count{stage="infer"} 2.0',
            "singleshot_images_waiting 0.0",
            "singleshot_ready 1.0",
        }
        assert app.state.metrics.summary().endswith(
            "3 requests to detect: 2 answered, 0 refused for lack of room, 1 wrong or given up"
        )

    with_client(detector, work)
