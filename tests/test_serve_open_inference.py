"""The Open Inference Protocol over HTTP: with its client from NVIDIA against a real server, and by hand."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from serve_process import Server, ask, get, post, running

from singleshot import Detections, Detector
from singleshot.decode import decode_image
from singleshot.photographs import PHOTOGRAPHS
from singleshot.serve.open_inference import HEADER_LENGTH

FILES = [photograph.path for photograph in PHOTOGRAPHS[:4]]
MODEL = "ssd320-lite"
NAMES = ("boxes", "scores", "labels", "names", "counts")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gevent's, on import
        from tritonclient.http import InferenceServerClient
    with InferenceServerClient(f"localhost:{server.port}") as client:
        yield client


@pytest.fixture(scope="module")
def expected() -> list[Detections]:
    """Of the four photographs, each by itself: one after another in the engine, as the server runs them."""
    return [detections.above(0.5) for _, _, detections in Detector.load().stream(FILES, batch_size=1)]


def require_equal(values: list[np.ndarray], expected: list[Detections]) -> None:
    boxes, scores, labels, names, counts = values
    np.testing.assert_array_equal(counts, [len(image) for image in expected])
    np.testing.assert_array_equal(boxes, np.concatenate([image.boxes for image in expected]))
    np.testing.assert_array_equal(scores, np.concatenate([image.scores for image in expected]))
    np.testing.assert_array_equal(labels, np.concatenate([image.labels for image in expected]))
    assert [name if isinstance(name, str) else name.decode() for name in names] == [
        name for image in expected for name in image.names
    ]


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("resnet")
    assert not client.is_model_ready(MODEL, "2")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata(MODEL) == client.get_model_metadata(MODEL, "1")


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_images_by_the_client_equal_those_of_the_detector(
    client: Any, expected: list[Detections], *, binary: bool
) -> None:
    from tritonclient.http import InferInput, InferRequestedOutput

    contents = [file.read_bytes() if binary else base64.b64encode(file.read_bytes()) for file in FILES]
    images = InferInput("IMAGE", [len(FILES)], "BYTES")
    images.set_data_from_numpy(np.array(contents, object), binary_data=binary)
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in NAMES]
    result = client.infer(MODEL, [images], outputs=outputs, request_id="7", model_version="1")
    assert result.get_response()["id"] == "7"
    require_equal([result.as_numpy(name) for name in NAMES], expected)


def test_pixels_by_the_client_equal_those_of_the_detector(client: Any, expected: list[Detections]) -> None:
    from tritonclient.http import InferInput

    pixels = decode_image(FILES[0])[None]
    tensor = InferInput("PIXELS", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    result = client.infer(MODEL, [tensor])
    require_equal([result.as_numpy(name) for name in NAMES], expected[:1])


def test_errors_by_the_client(client: Any) -> None:
    from tritonclient.http import InferInput
    from tritonclient.utils import InferenceServerException

    images = InferInput("IMAGE", [2], "BYTES")
    images.set_data_from_numpy(np.array([FILES[0].read_bytes(), b"<html>"], object))
    with pytest.raises(InferenceServerException, match=r"image 1, from 0: .*HTML"):
        client.infer(MODEL, [images])
    with pytest.raises(InferenceServerException, match="unknown model 'resnet'"):
        client.infer("resnet", [images])
    with pytest.raises(InferenceServerException, match="sequence_id"):
        client.infer(MODEL, [images], sequence_id=5)
    with pytest.raises(InferenceServerException):
        client.load_model(MODEL)
    assert client.is_model_ready(MODEL)


def infer(server: Server, *headers: str, **parameters: Any) -> Any:
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1]}
    content = {"inputs": [{**tensor, "data": [base64.b64encode(FILES[0].read_bytes()).decode()]}]}
    body = json.dumps({**content, "parameters": parameters}).encode()
    return ask(server.port, post(f"/v2/models/{MODEL}/infer", body, *headers))


def test_score_and_classes(server: Server) -> None:
    assert infer(server).json["outputs"][3]["data"] == ["person", "bottle"]
    assert infer(server, classes="cat,unicorn").status == 400
    assert infer(server, classes="cat").json["outputs"][0] == {
        "name": "boxes",
        "datatype": "FP32",
        "shape": [0, 4],
        "data": [],
    }
    assert infer(server, score=0.05).json["outputs"][0]["shape"][0] > 1
    assert infer(server, score=0.001).status == 400
    assert infer(server, timeout=1).status == 504
    assert "infer;dur=" in infer(server).headers["server-timing"]


def test_errors_are_problems_that_clients_of_the_protocol_read(server: Server) -> None:
    answers = [
        infer(server, f"{HEADER_LENGTH}: x"),
        infer(server, "Content-Encoding: gzip"),
        ask(server.port, get("/v2/models/other")),
        ask(server.port, get("/v2/repository/index")),
        ask(server.port, post("/v2/repository/models/a/load", b"{}")),
        ask(server.port, get("/v2", host="evil.example")),
    ]
    assert [answer.status for answer in answers] == [400, 415, 404, 404, 404, 421]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["error"] == answer.json["detail"]


def test_answers_are_counted(server: Server) -> None:
    assert infer(server).status == 200
    line = f'singleshot_requests_total{{path="/v2/models/{MODEL}/infer",status="200"}}'
    assert line in ask(server.port, get("/metrics")).body.decode()
