"""The Open Inference Protocol v2 (KServe, Triton): what a request says and what its answer says, without a server.

A model has two inputs, of which a request gives one:

    IMAGE   BYTES [N] or [N, 1]     N encoded image files (JPEG, PNG, ...); base64 in JSON, as they are in binary data
    PIXELS  UINT8 [N, H, W, 3]      N decoded images, RGB

and these outputs, where D is the number of detections in all N images, image after image, best first:

    boxes   FP32 [D, 4]     left, top, right, bottom in pixels of the image as displayed
    scores  FP32 [D]        in 0..1
    labels  INT64 [D]       class of each, 0..L-1
    names   BYTES [D]       its class name
    counts  INT64 [N]       how many of the D rows are each image's

Source: "Predict Protocol - Version 2" and Triton's "Binary Tensor Data Extension": the JSON comes first, as long as the
header `Inference-Header-Content-Length` says; after it come the tensors that have a `binary_data_size`, one after
another, little-endian. An element of a BYTES tensor has its length before it, as 4 bytes.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from singleshot.errors import RequestError
from singleshot.files import parse_json
from singleshot.types import Detections

HEADER_LENGTH = "Inference-Header-Content-Length"
VERSION = "1"
"""The one version of a model: a server reads its folder once."""
MODEL_PATHS = ("/v2/models/{model}", f"/v2/models/{{model}}/versions/{VERSION}")
"""What the model's metadata, `ready` and `infer` lie below."""
MOST_VALUES = 1_000_000
"""Commas in a request's JSON, at most: more take the parser so long that other requests wait. 640 x 480 pixels fit."""


class Tensor(NamedTuple):
    """An input or output as the metadata states it; -1 is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


IMAGE, PIXELS = Tensor("IMAGE", "BYTES", (-1,)), Tensor("PIXELS", "UINT8", (-1, -1, -1, 3))
INPUTS = {tensor.name: tensor for tensor in (IMAGE, PIXELS)}
OUTPUTS = {
    tensor.name: tensor
    for tensor in (
        Tensor("boxes", "FP32", (-1, 4)),
        Tensor("scores", "FP32", (-1,)),
        Tensor("labels", "INT64", (-1,)),
        Tensor("names", "BYTES", (-1,)),
        Tensor("counts", "INT64", (-1,)),
    )
}


@dataclass(frozen=True, eq=False)
class InferenceRequest:
    """What a request asks for.

    Attributes:
        images: encoded files, or decoded RGB pixels of (H, W, 3), at least one.
        outputs: the outputs that are wanted, in this order, and whether each comes as binary data.
        id: returned with the answer; None: the request has none.
        score: the least score of a detection, 0..1; None: the server's default.
        classes: names of the classes that are wanted; None: all.
        timeout: seconds in which the answer is of use; None: the server's deadline.
    """

    images: list[bytes] | list[np.ndarray]
    outputs: dict[str, bool]
    id: str | None = None
    score: float | None = None
    classes: tuple[str, ...] | None = None
    timeout: float | None = None


def server_metadata(version: str) -> dict[str, Any]:
    """The answer of `/v2`."""
    return {"name": "singleshot", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str) -> dict[str, Any]:
    """The answer of `/v2/models/NAME`."""

    def listed(tensors: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": kind, "shape": list(shape)} for name, kind, shape in tensors.values()]

    return {
        "name": name,
        "versions": [VERSION],
        "platform": "singleshot",
        "inputs": listed(INPUTS),
        "outputs": listed(OUTPUTS),
    }


def parse_request(body: bytes, header_length: str | None, *, max_images: int) -> InferenceRequest:
    """Read the body of an `infer` request.

    Args:
        body: JSON, and the binary data after it.
        header_length: the header `Inference-Header-Content-Length`; None: the whole body is JSON.
        max_images: more are refused.

    Raises:
        RequestError: it is malformed; one line that names the place and what was expected.
    """
    text, binary = _split(body, header_length)
    content = _fields(_json(text), {"id", "parameters", "inputs", "outputs"}, "the request")
    parameters = _fields(
        content.get("parameters", {}), {"score", "classes", "timeout", "binary_data_output"}, "parameters"
    )
    identifier = content.get("id")
    if identifier is not None:
        _of_type(identifier, str, "id")
    return InferenceRequest(
        images=_images(content.get("inputs"), binary, max_images),
        outputs=_outputs(content.get("outputs"), binary=_flag(parameters, "binary_data_output", "parameters")),
        id=identifier,
        score=_score(parameters.get("score")),
        classes=_classes(parameters.get("classes")),
        timeout=_timeout(parameters.get("timeout")),
    )


def answer(request: InferenceRequest, model: str, detections: Sequence[Detections]) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON where binary data follow it, else None.

    Args:
        request: what was asked for.
        model: the model's name.
        detections: those of each image of the request.
    """
    values: dict[str, np.ndarray | list[str]] = {
        "boxes": np.concatenate([image.boxes for image in detections]),
        "scores": np.concatenate([image.scores for image in detections]),
        "labels": np.concatenate([image.labels for image in detections]),
        "names": [name for image in detections for name in image.names],
        "counts": np.array([len(image) for image in detections], np.int64),
    }
    outputs, parts = [], list[bytes]()
    for name, binary in request.outputs.items():
        value = values[name]
        shape = list(value.shape) if isinstance(value, np.ndarray) else [len(value)]
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name].datatype, "shape": shape}
        if binary:
            parts.append(_packed(value))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = value.ravel().tolist() if isinstance(value, np.ndarray) else value
        outputs.append(output)
    content = {"model_name": model, "model_version": VERSION, "outputs": outputs}
    if request.id is not None:
        content["id"] = request.id
    text = json.dumps(content, allow_nan=False).encode()
    return b"".join([text, *parts]), len(text) if parts else None


def _packed(value: np.ndarray | list[str]) -> bytes:
    """A tensor as binary data: little-endian numbers, or texts with their length before them."""
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("<")).tobytes()
    texts = [name.encode(errors="backslashreplace") for name in value]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON of a request, and the binary data after it."""
    if header_length is None:
        return body, memoryview(b"")
    if not (header_length.isascii() and header_length.isdecimal() and len(header_length) < 12):
        raise RequestError(f"{HEADER_LENGTH} must be a number of bytes, got {header_length[:40]!r}")
    length = int(header_length)
    if length > len(body):
        raise RequestError(f"{HEADER_LENGTH} is {length}, the body has {len(body)} bytes")
    return body[:length], memoryview(body)[length:]


def _json(text: bytes) -> Any:
    if text.count(b",") > MOST_VALUES:
        raise RequestError(f"JSON of more than {MOST_VALUES:,} values is not read: send the tensor as binary data")
    try:
        return parse_json(text)
    except ValueError as error:
        raise RequestError(f"the request is {error}") from None


def _images(inputs: Any, binary: memoryview, max_images: int) -> list[bytes] | list[np.ndarray]:
    """The images of the one input; all binary data must be its."""
    inputs = _of_type(inputs, list, "inputs")
    if len(inputs) != 1:
        raise RequestError(f"inputs must be one tensor, IMAGE or PIXELS, got {len(inputs)}")
    tensor = _fields(inputs[0], {"name", "datatype", "shape", "parameters", "data"}, "inputs[0]")
    name = tensor.get("name")
    known = INPUTS.get(name) if isinstance(name, str) else None
    if known is None:
        raise RequestError(f"inputs[0].name must be IMAGE or PIXELS, got {_shown(name)}")
    if tensor.get("datatype") != known.datatype:
        raise RequestError(f"{name} has datatype {known.datatype}, got {_shown(tensor.get('datatype'))}")
    shape = _shape(tensor.get("shape"), known)
    if shape[0] > max_images:
        raise RequestError(f"at most {max_images} images in a request, {name} has {shape[0]}")
    parameters = _fields(tensor.get("parameters", {}), {"binary_data_size", "content_type"}, f"{name}.parameters")
    if parameters.get("content_type", "base64") != "base64":
        raise RequestError(f"{name}.parameters.content_type can be base64, got {_shown(parameters['content_type'])}")
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in tensor):
        raise RequestError(f"{name} must have either data or the parameter binary_data_size")
    if size is None:
        if len(binary):
            raise RequestError(f"{len(binary)} bytes follow the JSON, and no input has a binary_data_size")
        return _encoded(tensor["data"], shape) if known is IMAGE else _pixels(tensor["data"], shape)
    if _of_type(size, int, f"{name}.parameters.binary_data_size") != len(binary):
        raise RequestError(f"{name} has a binary_data_size of {size}, {len(binary)} bytes follow the JSON")
    return _elements(binary, shape[0]) if known is IMAGE else _decoded(binary, shape)


def _shape(shape: Any, tensor: Tensor) -> tuple[int, ...]:
    """A shape that fits the tensor: every size at least 1."""
    sizes: tuple[int, ...] = tuple(_of_type(shape, list, f"{tensor.name}.shape"))
    whole = all(type(size) is int and 1 <= size < 2**31 for size in sizes)
    fits = len(sizes) == len(tensor.shape) and all(
        wanted in (-1, size) for wanted, size in zip(tensor.shape, sizes, strict=True)
    )
    if not whole or not (fits or (tensor is IMAGE and len(sizes) == 2 and sizes[1] == 1)):
        expected = "[N]" if tensor is IMAGE else "[N, H, W, 3]"
        raise RequestError(f"{tensor.name} has shape {expected} of sizes from 1, got {_shown(shape)}")
    return sizes


def _encoded(data: Any, shape: tuple[int, ...]) -> list[bytes]:
    """Image files from base64 texts, nested as the shape says or flat."""
    texts = _of_type(data, list, "IMAGE.data")
    texts = [text[0] if isinstance(text, list) and len(text) == 1 else text for text in texts]
    if len(texts) != shape[0]:
        raise RequestError(f"IMAGE has shape {list(shape)}, its data has {len(texts)} elements")
    images = []
    for place, text in enumerate(texts):
        try:
            images.append(base64.b64decode(_of_type(text, str, f"IMAGE.data[{place}]"), validate=True))
        except ValueError as error:
            raise RequestError(f"IMAGE.data[{place}] must be an image file as base64: {error}") from None
    return images


def _elements(binary: memoryview, count: int) -> list[bytes]:
    """The elements of a BYTES tensor, each after its length."""
    elements, place = list[bytes](), 0
    for number in range(count):
        length = struct.unpack_from("<I", binary, place)[0] if place + 4 <= len(binary) else None
        if length is None or place + 4 + length > len(binary):
            raise RequestError(f"IMAGE: its binary data end within element {number} of {count}, from 0")
        elements.append(bytes(binary[place + 4 : place + 4 + length]))
        place += 4 + length
    if place != len(binary):
        raise RequestError(f"IMAGE: {len(binary) - place} bytes are left after its {count} elements")
    return elements


def _pixels(data: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Decoded images from numbers, nested as the shape says or flat."""
    values, sizes = _of_type(data, list, "PIXELS.data"), [len(data)]
    while values and type(values[0]) is list:
        if any(type(row) is not list or len(row) != len(values[0]) for row in values):
            raise RequestError("PIXELS.data has rows of different lengths")
        sizes.append(len(values[0]))
        values = [value for row in values for value in row]
    if tuple(sizes) not in {shape, (math.prod(shape),)}:
        raise RequestError(f"PIXELS has shape {list(shape)}, its data has {_shown(sizes)}")
    if not all(type(value) is int and 0 <= value <= 255 for value in values):
        raise RequestError("PIXELS.data must be whole numbers from 0 to 255")
    return list(np.array(values, np.uint8).reshape(shape))


def _decoded(binary: memoryview, shape: tuple[int, ...]) -> list[np.ndarray]:
    if math.prod(shape) != len(binary):
        raise RequestError(f"PIXELS has shape {list(shape)}: {math.prod(shape)} bytes, got {len(binary)}")
    return list(np.frombuffer(binary, np.uint8).reshape(shape))


def _outputs(outputs: Any, *, binary: bool) -> dict[str, bool]:
    """The wanted outputs, and whether each comes as binary data; all of them where none is named."""
    if not _of_type(outputs if outputs is not None else [], list, "outputs"):
        return dict.fromkeys(OUTPUTS, binary)
    wanted = dict[str, bool]()
    for place, output in enumerate(outputs):
        fields = _fields(output, {"name", "parameters"}, f"outputs[{place}]")
        name = fields.get("name")
        if not isinstance(name, str) or name not in OUTPUTS or name in wanted:
            raise RequestError(f"outputs[{place}].name must be a new one of {', '.join(OUTPUTS)}, got {_shown(name)}")
        where = f"outputs[{place}].parameters"
        parameters = _fields(fields.get("parameters", {}), {"binary_data"}, where)
        wanted[name] = _flag(parameters, "binary_data", where, default=binary)
    return wanted


def _score(score: Any) -> float | None:
    if score is None:
        return None
    if type(score) not in {int, float} or not 0 <= score <= 1:
        raise RequestError(f"parameters.score must be a number from 0 to 1, got {_shown(score)}")
    return float(score)


def _classes(classes: Any) -> tuple[str, ...] | None:
    """Class names: a list, or a text with commas between them, since most clients send texts and numbers only."""
    if classes is None:
        return None
    names = classes.split(",") if isinstance(classes, str) else classes
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise RequestError(f"parameters.classes must be class names with commas between, got {_shown(classes)}")
    return tuple(name.strip() for name in names)


def _timeout(microseconds: Any) -> float | None:
    """Seconds, from Triton's microseconds; 0 is none, as there."""
    if microseconds is None or microseconds == 0:
        return None
    if type(microseconds) is not int or not 0 < microseconds < 2**63:
        raise RequestError(f"parameters.timeout must be whole microseconds, got {_shown(microseconds)}")
    return microseconds / 1e6


def _flag(parameters: Mapping[str, Any], name: str, where: str, *, default: bool = False) -> bool:
    return bool(_of_type(parameters.get(name, default), bool, f"{where}.{name}"))


def _fields(value: Any, known: Collection[str], where: str) -> dict[str, Any]:
    """A JSON object that has only these fields: what is not understood is not left out silently."""
    content: dict[str, Any] = _of_type(value, dict, where)
    for name in content:
        if name not in known:
            raise RequestError(f"{where} can have {', '.join(sorted(known))}, got {_shown(name)}")
    return content


JSON_NAMES = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


def _of_type(value: Any, kind: type, where: str) -> Any:
    if type(value) is not kind:
        raise RequestError(f"{where} must be {JSON_NAMES[kind]}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """The beginning of a stranger's value, as ASCII on one line."""
    if isinstance(value, str):
        value = value[:60]
    text = json.dumps(value) if not isinstance(value, dict | list) or len(value) < 20 else type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}..."
