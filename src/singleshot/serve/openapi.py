"""The server's OpenAPI 3.1 document, as data: what `/openapi.json` answers."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from singleshot.serve.detect_route import DEFAULT_SCORE
from singleshot.serve.open_inference import HEADER_LENGTH, INPUTS, MODEL_PATHS, OUTPUTS
from singleshot.serve.settings import ServeSettings

JSON, PROBLEM = "application/json", "application/problem+json"
TEXT: dict[str, Any] = {"type": "string"}
TINY_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
"""An image of one pixel, as base64."""
BYTES: dict[str, Any] = {"type": "string", "format": "binary"}
FRACTION: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
ANY_ROUTE = {
    401: "the token is missing or wrong",
    403: "the request comes from a page of another origin",
    408: "the body was not sent in time",
    413: "a body, an image or a number of images above the limits of /v1/model",
    415: "a compressed body, or no image of a format that is read",
    421: "the server is not called by this Host",
}
DETECTING = {
    400: "the request is malformed",
    422: "no image can be used",
    500: "the engine failed at this image",
    503: "too many images wait, or the server starts or stops; see Retry-After",
    504: "the deadline has passed",
}


def openapi_document(model: str, settings: ServeSettings, *, min_score: float) -> dict[str, Any]:
    """The document for a server of this model.

    Args:
        model: its name.
        settings: the server's limits.
        min_score: the least score that the model's post-processing keeps.
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "singleshot",
            "version": metadata.version("singleshot"),
            "description": "Object detection. Errors are problem details (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _own_paths(settings, min_score) | _protocol_paths(model, min_score),
        "components": {"schemas": _schemas(settings)},
    }
    if settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _own_paths(settings: ServeSettings, min_score: float) -> dict[str, Any]:
    detect = _operation("detect", "Detect objects in one image, or in several", _json("Detections"), DETECTING)
    timing = {"description": "milliseconds to decode, in queues, and in the engine", "schema": TEXT}
    detect["responses"]["200"]["headers"] = {"Server-Timing": timing}
    detect["parameters"] = [
        {
            "name": "score", "in": "query", "description": "leave out detections below this",
            "schema": {**FRACTION, "minimum": min_score, "default": DEFAULT_SCORE},
        },
        {
            "name": "classes", "in": "query", "description": "keep these classes alone, with commas between",
            "schema": TEXT,
        },
    ]  # fmt: skip
    files = {"type": "array", "items": BYTES, "minItems": 1, "maxItems": settings.max_images}
    multipart = {"type": "object", "properties": {"image": files}, "required": ["image"], "additionalProperties": False}
    detect["requestBody"] = {
        "required": True,
        "description": f"One image file, or several as multipart; at most {settings.max_body_bytes:,} bytes",
        "content": {"application/octet-stream": {"schema": BYTES}, "multipart/form-data": {"schema": multipart}},
    }
    live = _operation("live", "Whether the server runs", _json("Live"))
    ready = _operation("ready", "Whether it takes images", _json("Ready"), {503: "it is starting or stopping"})
    figures = {"description": "Prometheus' text format", "content": {"text/plain": {"schema": TEXT}}}
    return {
        "/v1/detect": {"post": detect},
        "/v1/model": {"get": _operation("model", "The model, its classes and the limits", _json("Model"))},
        "/v2/health/live": {"get": live},
        "/v2/health/ready": {"get": ready},
        "/metrics": {"get": _operation("metrics", "Counters", figures)},
    }


def _protocol_paths(model: str, min_score: float) -> dict[str, Any]:
    """The Open Inference Protocol's paths, with and without the version."""
    unknown = {404: "no such model"}
    paths: dict[str, Any] = {"/v2": {"get": _operation("server_metadata", "The server", _json("ServerMetadata"))}}
    for path, suffix in zip(MODEL_PATHS, ("", "_version"), strict=True):
        name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": [model]}}
        tensors = _operation(f"model_metadata{suffix}", "Inputs and outputs", _json("ModelMetadata"), unknown)
        ready = _operation(
            f"model_ready{suffix}", "Whether the model takes images", _json("ModelReady"),
            {**unknown, 503: "it is starting or stopping"},
        )  # fmt: skip
        infer = _operation(f"infer{suffix}", "Detect objects in images", _json("InferAnswer"), unknown | DETECTING)
        infer["responses"]["200"]["content"]["application/octet-stream"] = {"schema": BYTES}
        infer["parameters"] = [
            {
                "name": HEADER_LENGTH, "in": "header", "schema": COUNT,
                "description": "length of the JSON, where binary tensor data follow it",
            }
        ]  # fmt: skip
        least = f"parameters.score is at least {min_score:g}"
        infer["requestBody"] = {
            "required": True,
            "description": f"JSON, or JSON and binary tensor data; {least}",
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/InferRequest"}, "example": _example()},
                "application/octet-stream": {"schema": BYTES},
            },
        }
        for end, method, operation in (("", "get", tensors), ("/ready", "get", ready), ("/infer", "post", infer)):
            paths[path + end] = {"parameters": [name], method: operation}
    return paths


def _example() -> dict[str, Any]:
    """A request that is answered."""
    image = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "data": [TINY_PNG]}
    return {"id": "1", "parameters": {"score": DEFAULT_SCORE}, "inputs": [image], "outputs": [{"name": "boxes"}]}


def _operation(name: str, summary: str, answer: dict[str, Any], problems: dict[int, str] | None = None) -> Any:
    """An operation with its answer and its problems."""
    responses = {"200": answer}
    for status, description in sorted((ANY_ROUTE | (problems or {})).items()):
        content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        responses[str(status)] = {"description": description, "content": content}
    return {"operationId": name, "summary": summary, "responses": responses}


def _json(schema: str) -> dict[str, Any]:
    return {"description": "done", "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None, *, closed: bool = False) -> Any:
    schema = {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
    return {**schema, "additionalProperties": False} if closed else schema


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _schemas(settings: ServeSettings) -> dict[str, Any]:
    problem = {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT}
    box = {**_list({"type": "number"}), "minItems": 4, "maxItems": 4}
    detection = _object({"box": box, "label": TEXT, "score": FRACTION}, closed=True)
    detected = _object(
        {"file": TEXT, "width": COUNT, "height": COUNT, "detections": _list(detection)}, {"remarks": _list(TEXT)}
    )
    failed = _object({"file": TEXT, "error": _object(problem)})
    whole = {"type": "boolean"}
    limits = {"max_body_bytes": COUNT, "max_megapixels": {"type": "number"}, "max_images": COUNT}
    size = {**_list(COUNT), "minItems": 2, "maxItems": 2}
    tensor = _object({"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer"})})
    return {
        "Problem": _object(problem, {"error": {**TEXT, "description": "the detail, for clients of /v2"}}),
        "Detections": _object({"model": TEXT, "images": _list({"anyOf": [detected, failed]})}),
        "Model": _object(
            {"name": TEXT, "classes": _list(TEXT), "input_size": size, "default_score": FRACTION, **limits},
            {"min_score": FRACTION},
        ),
        "Live": _object({"live": whole}),
        "Ready": _object({"ready": whole}),
        "ServerMetadata": _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)}),
        "ModelMetadata": _object(
            {"name": TEXT, "versions": _list(TEXT), "platform": TEXT, "inputs": _list(tensor), "outputs": _list(tensor)}
        ),
        "ModelReady": _object({"name": TEXT, "ready": whole}),
        "InferRequest": _infer_request(settings),
        "InferAnswer": _infer_answer(),
    }


def _infer_request(settings: ServeSettings) -> dict[str, Any]:
    sizes = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
    images = {**sizes, "maximum": settings.max_images}
    data = {
        "IMAGE": {**_list({**TEXT, "contentEncoding": "base64"}), "description": "image files"},
        "PIXELS": {"type": "array", "description": "0 to 255, RGB, nested as the shape says or flat"},
    }
    tensors = []
    for name, tensor in INPUTS.items():
        axes = [images, *(sizes if size == -1 else {"const": size} for size in tensor.shape[1:])]
        shape = {"type": "array", "prefixItems": axes, "minItems": len(axes), "maxItems": len(axes)}
        parameters = _object({}, {"binary_data_size": COUNT, "content_type": {"const": "base64"}}, closed=True)
        required = {"name": {"const": name}, "datatype": {"const": tensor.datatype}, "shape": shape}
        tensors.append(_object(required, {"data": data[name], "parameters": parameters}, closed=True))
    wanted = _object(
        {"name": {"enum": list(OUTPUTS)}},
        {"parameters": _object({}, {"binary_data": {"type": "boolean"}}, closed=True)},
        closed=True,
    )
    parameters = {
        "score": FRACTION,
        "classes": {"anyOf": [TEXT, {**_list(TEXT), "minItems": 1}]},
        "timeout": {**COUNT, "maximum": 2**63 - 1, "description": "microseconds; 0: the server's deadline"},
        "binary_data_output": {"type": "boolean", "description": "all outputs as binary data"},
    }
    optional = {"id": TEXT, "parameters": _object({}, parameters, closed=True), "outputs": _list(wanted)}
    inputs = {**_list({"anyOf": tensors}), "minItems": 1, "maxItems": 1}
    return dict(_object({"inputs": inputs}, optional, closed=True))


def _infer_answer() -> dict[str, Any]:
    values = {"type": "array", "items": {"type": ["number", "string"]}}
    output = _object(
        {"name": {"enum": list(OUTPUTS)}, "datatype": TEXT, "shape": _list(COUNT)},
        {"data": values, "parameters": _object({"binary_data_size": COUNT})},
    )
    answer = {"model_name": TEXT, "model_version": TEXT, "outputs": _list(output)}
    return dict(_object(answer, {"id": TEXT}))
