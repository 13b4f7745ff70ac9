"""The Open Inference Protocol without a server: requests of every form, and what is refused."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.errors import RequestError
from singleshot.serve.open_inference import MOST_VALUES, OUTPUTS, answer, model_metadata, parse_request, server_metadata
from singleshot.types import Detections

FILES = [b"\xff\xd8 first", b"\x89PNG second"]
TEXTS = [base64.b64encode(content).decode() for content in FILES]
CLASSES = ("cat", "dög")
BOXES = np.array([[0, 1, 10, 11.5], [2, 3, 4, 5]], np.float32)
DETECTIONS = [
    Detections(BOXES, np.array([0.9, 0.4], np.float32), np.array([1, 0]), CLASSES),
    Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), CLASSES),
]  # fmt: skip


def image_input(**changes: Any) -> dict[str, Any]:
    return {"name": "IMAGE", "datatype": "BYTES", "shape": [2], "data": TEXTS} | changes


def request(**changes: Any) -> dict[str, Any]:
    return {"inputs": [image_input()]} | changes


def parse(content: Any, binary: bytes | None = None, *, max_images: int = 8) -> Any:
    text = json.dumps(content).encode()
    length = None if binary is None else str(len(text))
    return parse_request(text + (binary or b""), length, max_images=max_images)


def packed(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def test_images_as_base64() -> None:
    parsed = parse(request(id="7", parameters={"score": 0.25, "classes": "cat, dog", "timeout": 1_500_000}))
    assert parsed.images == FILES
    assert (parsed.id, parsed.score, parsed.classes, parsed.timeout) == ("7", 0.25, ("cat", "dog"), 1.5)
    assert parsed.outputs == dict.fromkeys(OUTPUTS, False)


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_images_as_binary_data(shape: list[int]) -> None:
    binary = packed(FILES)
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": len(binary)}}
    assert parse({"inputs": [tensor]}, binary).images == FILES


def test_images_in_rows_of_one() -> None:
    assert parse(request(inputs=[image_input(shape=[2, 1], data=[[text] for text in TEXTS])])).images == FILES


@pytest.mark.parametrize("form", ["flat", "nested", "binary"])
def test_pixels(form: str) -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)
    tensor: dict[str, Any] = {"name": "PIXELS", "datatype": "UINT8", "shape": [2, 2, 3, 3]}
    binary = None
    if form == "binary":
        binary = pixels.tobytes()
        tensor["parameters"] = {"binary_data_size": len(binary)}
    else:
        tensor["data"] = (pixels if form == "nested" else pixels.ravel()).tolist()
    np.testing.assert_array_equal(parse({"inputs": [tensor]}, binary).images, pixels)


def test_outputs_are_chosen_and_each_is_json_or_binary() -> None:
    outputs = [{"name": "counts"}, {"name": "boxes", "parameters": {"binary_data": True}}]
    assert parse(request(outputs=outputs)).outputs == {"counts": False, "boxes": True}
    binary = {"binary_data_output": True}
    assert parse(request(outputs=[{"name": "counts"}], parameters=binary)).outputs == {"counts": True}
    off = [{"name": "counts", "parameters": {"binary_data": False}}]
    assert parse(request(outputs=off, parameters=binary)).outputs == {"counts": False}


REFUSED = {
    "a list": ([], "object"),
    "no inputs": ({}, "inputs"),
    "two inputs": (request(inputs=[image_input(), image_input()]), "one tensor"),
    "unknown field": (request(input=[]), '"input"'),
    "unknown parameter": (request(parameters={"sequence_id": 1}), "sequence_id"),
    "id is a number": (request(id=7), "id"),
    "unknown input": (request(inputs=[image_input(name="URL")]), '"URL"'),
    "name is a list": (request(inputs=[image_input(name=["IMAGE"])]), "name"),
    "datatype": (request(inputs=[image_input(datatype="FP32")]), "BYTES"),
    "shape of one axis too many": (request(inputs=[image_input(shape=[1, 2])]), "shape"),
    "empty shape": (request(inputs=[image_input(shape=[0], data=[])]), "shape"),
    "shape of lists": (request(inputs=[image_input(shape=[[1]])]), "shape"),
    "shape of true": (request(inputs=[image_input(shape=[True])]), "shape"),
    "shape is no list": (request(inputs=[image_input(shape=2)]), "shape"),
    "fewer elements": (request(inputs=[image_input(shape=[3])]), "3"),
    "too many images": (request(inputs=[image_input(shape=[9], data=TEXTS * 4)]), "at most 8"),
    "no base64": (request(inputs=[image_input(data=["%%", "%%"])]), "base64"),
    "no ascii": (request(inputs=[image_input(data=["ü", "ü"])]), "base64"),
    "a number as image": (request(inputs=[image_input(data=[1, 2])]), "text"),
    "an address": (request(inputs=[image_input(data=["http://a/b.jpg"] * 2)]), "base64"),
    "shared memory": (request(inputs=[image_input(parameters={"shared_memory_region": "a"})]), "shared_memory_region"),
    "content type": (request(inputs=[image_input(parameters={"content_type": "pil"})]), "content_type"),
    "data and binary": (request(inputs=[image_input(parameters={"binary_data_size": 0})]), "either"),
    "score": (request(parameters={"score": 1.5}), "score"),
    "score true": (request(parameters={"score": True}), "score"),
    "classes": (request(parameters={"classes": [1]}), "classes"),
    "timeout": (request(parameters={"timeout": -1}), "timeout"),
    "unknown output": (request(outputs=[{"name": "masks"}]), '"masks"'),
    "an output twice": (request(outputs=[{"name": "boxes"}] * 2), "new"),
    "classification": (request(outputs=[{"name": "labels", "parameters": {"classification": 3}}]), "classification"),
    "binary_data": (request(outputs=[{"name": "boxes", "parameters": {"binary_data": 1}}]), "true or false"),
}


@pytest.mark.parametrize(("content", "token"), REFUSED.values(), ids=REFUSED)
def test_refused(content: Any, token: str) -> None:
    with pytest.raises(RequestError, match=token) as error:
        parse(content)
    assert "\n" not in str(error.value)


PIXELS_REFUSED = {
    "other numbers": ([1, 2], "data has"),
    "rows of different lengths": ([[[[1, 2, 3]], [[1, 2]]]], "different lengths"),
    "numbers beside rows": ([[1], 2], "different lengths"),
    "too large": ([256, 0, 0], "255"),
    "negative": ([-1, 0, 0], "255"),
    "fractions": ([0.5, 0, 0], "255"),
    "texts": (["a", 0, 0], "255"),
    "truths": ([True, 0, 0], "255"),
    "an integer of many digits": ([10**400, 0, 0], "255"),
}


@pytest.mark.parametrize(("data", "token"), PIXELS_REFUSED.values(), ids=PIXELS_REFUSED)
def test_refused_pixels(data: Any, token: str) -> None:
    with pytest.raises(RequestError, match=token):
        parse({"inputs": [{"name": "PIXELS", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": data}]})


BINARY_REFUSED = {
    "cut in its length": (packed(FILES)[:2], [2], "element 0"),
    "cut in an element": (packed(FILES)[:-1], [2], "element 1"),
    "one element too many": (packed([*FILES, b""]), [2], "4 bytes"),
    "a length of 4 GB": (b"\xff\xff\xff\xff", [1], "element 0"),
}


@pytest.mark.parametrize(("binary", "shape", "token"), BINARY_REFUSED.values(), ids=BINARY_REFUSED)
def test_refused_binary_data(binary: bytes, shape: list[int], token: str) -> None:
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": len(binary)}}
    with pytest.raises(RequestError, match=token):
        parse({"inputs": [tensor]}, binary)


def test_binary_data_of_another_size() -> None:
    tensor = {"name": "PIXELS", "datatype": "UINT8", "shape": [1, 1, 1, 3], "parameters": {"binary_data_size": 4}}
    with pytest.raises(RequestError, match="3 bytes, got 4"):
        parse({"inputs": [tensor]}, b"abcd")
    with pytest.raises(RequestError, match="of 4, 3 bytes"):
        parse({"inputs": [tensor]}, b"abc")
    with pytest.raises(RequestError, match="no input has"):
        parse(request(), b"abc")


@pytest.mark.parametrize("length", ["-1", "1e2", "", "9999999", "٣", "1" * 5000])
def test_refused_header_length(length: str) -> None:
    with pytest.raises(RequestError, match="Inference-Header-Content-Length"):
        parse_request(b"{}", length, max_images=8)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"id": NaN}', b"[" * 100_000, b"\xff\xfe\x00", b'{"a":' + b"1" * 9999 + b"}"]
)
def test_refused_json(body: bytes) -> None:
    with pytest.raises(RequestError, match="the request"):
        parse_request(body, None, max_images=8)


def test_json_that_would_take_long_is_not_parsed() -> None:
    with pytest.raises(RequestError, match="binary"):
        parse_request(b"," * (MOST_VALUES + 1), None, max_images=8)


def test_answer_in_json() -> None:
    body, length = answer(parse(request(id="a\ud800b")), "tiny", DETECTIONS)
    content = json.loads(body)
    assert length is None
    assert content == {
        "model_name": "tiny", "model_version": "1", "id": "a\ud800b",
        "outputs": [
            {"name": "boxes", "datatype": "FP32", "shape": [2, 4], "data": [0, 1, 10, 11.5, 2, 3, 4, 5]},
            {"name": "scores", "datatype": "FP32", "shape": [2], "data": np.float32([0.9, 0.4]).tolist()},
            {"name": "labels", "datatype": "INT64", "shape": [2], "data": [1, 0]},
            {"name": "names", "datatype": "BYTES", "shape": [2], "data": ["dög", "cat"]},
            {"name": "counts", "datatype": "INT64", "shape": [2], "data": [2, 0]},
        ],
    }  # fmt: skip


def test_answer_in_binary_data() -> None:
    outputs = [{"name": "names"}, {"name": "boxes"}, {"name": "counts", "parameters": {"binary_data": False}}]
    asked = parse(request(outputs=outputs, parameters={"binary_data_output": True}))
    body, length = answer(asked, "tiny", DETECTIONS)
    names, boxes, counts = json.loads(body[:length])["outputs"]
    texts = packed(["dög".encode(), b"cat"])
    assert body[length:] == texts + DETECTIONS[0].boxes.astype("<f4").tobytes()
    assert (names["parameters"], boxes["parameters"]) == ({"binary_data_size": len(texts)}, {"binary_data_size": 32})
    assert "data" not in names
    assert counts["data"] == [2, 0]


def test_metadata() -> None:
    assert server_metadata("1.2")["extensions"] == ["binary_tensor_data"]
    metadata = model_metadata("tiny")
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["IMAGE", "PIXELS"]
    assert metadata["outputs"][0] == {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PLACES = st.sampled_from(
    ["id", "parameters", "inputs", "outputs", "name", "datatype", "shape", "data", "parameters of an input"]
)


@given(place=PLACES, value=JSON_VALUES)
def test_any_value_at_any_place_is_taken_or_refused_in_one_line(place: str, value: Any) -> None:
    inner = place in {"name", "datatype", "shape", "data"} or place.endswith("input")
    changes = {place.split(maxsplit=1)[0]: value}
    content = request(inputs=[image_input(**changes)]) if inner else request(**changes)
    message = ""
    try:
        parse(content)
    except RequestError as error:
        message = str(error)
    assert message.isprintable()  # as the empty one is


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_are_refused_in_one_line(body: bytes, length: int) -> None:
    for header in (None, str(length)):
        with pytest.raises(RequestError):
            parse_request(body, header, max_images=8)
