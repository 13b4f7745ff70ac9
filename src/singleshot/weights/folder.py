"""A model on disk: a folder with `config.json`, `model.safetensors`, `README.md` and `SHA256SUMS`. Needs no torch.

Nothing in it is code: the configuration is validated strictly, the weights are plain arrays, every file has its hash.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from singleshot.errors import HashError, ModelError, SingleshotError
from singleshot.files import read_regular
from singleshot.spec import FORBID_UNKNOWN_FIELDS, ModelSpec
from singleshot.weights.bounds import require_bounds
from singleshot.weights.replace import replaced_folder

FORMAT = 1
CONFIG, WEIGHTS, CARD, SUMS = "config.json", "model.safetensors", "README.md", "SHA256SUMS"
_LARGEST = {CONFIG: 4 * 2**20, SUMS: 2**20}  # bytes; 200 class names and all boxes need some ten thousand
_LARGEST_WEIGHTS = 2**34
STATISTICS = ("running_mean", "running_var")  # of batch normalisation, wherever a base of timm has it
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\n\0]+)")


Precision: TypeAlias = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True)
class Export:
    """What an exported model is, in place of safetensors.

    Attributes:
        engine: `openvino`.
        precision: what its arithmetic is.
        files: the engine's own files; the first is the one to open.
        source: SHA-256 of the weights it was made from, `""` where they lay in no folder.
    """

    engine: str
    precision: Precision
    files: tuple[str, ...]
    source: str = ""

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS


@dataclass(frozen=True)
class Configuration:
    """What `config.json` holds.

    Attributes:
        format: version of this layout.
        model: the whole architecture with class names, default boxes, pre- and post-processing.
        provenance: how the model came to be: recipe, data, command, figures. Plain values; nothing depends on them.
        export: set where the folder holds a model for an engine.
    """

    format: int
    model: ModelSpec
    provenance: dict[str, Any] = field(default_factory=dict)
    export: Export | None = None

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A model folder in memory.

    Attributes:
        spec: the architecture.
        tensors: weights by name, float32 whatever precision they are stored in.
        provenance: see `Configuration`.
    """

    spec: ModelSpec
    tensors: dict[str, np.ndarray]
    provenance: dict[str, Any]


def save_folder(
    path: Path,
    spec: ModelSpec,
    tensors: Mapping[str, np.ndarray],
    *,
    card: str,
    provenance: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a model folder; an older one in its place is replaced as a whole or not at all.

    Args:
        path: the folder.
        spec: the architecture.
        tensors: all weights by name.
        card: the model card, Markdown.
        provenance: see `Configuration`; values that are not finite become null.
        half: store weights as float16 (half the size; read back as float32). Statistics of batch normalisation and
            tensors beyond float16's range stay as they are.

    Raises:
        MachineError: the disk is full; RequestError: the place cannot be written to. What was there is unchanged.
    """
    stored = {name: np.asarray(_halved(name, array) if half else array, order="C") for name, array in tensors.items()}
    _write(path, Configuration(FORMAT, spec, dict(provenance or {})), {WEIGHTS: format_tensors(stored)}, card)


def save_export(
    path: Path,
    spec: ModelSpec,
    engine_files: Mapping[str, bytes],
    *,
    export: Export,
    card: str,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write an exported model as a folder; see `Export` for what is said of it and `save_folder` for the rest."""
    _write(path, Configuration(FORMAT, spec, dict(provenance or {}), export), engine_files, card)


def _write(path: Path, configuration: Configuration, weights: Mapping[str, bytes], card: str) -> None:
    require_bounds(configuration.model, "the model")
    values = asdict(replace(configuration, provenance=_finite(configuration.provenance)))
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    files = {CONFIG: text.encode(), **weights, CARD: card.encode()}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    with replaced_folder(path) as beside:
        for name, content in (*files.items(), (SUMS, sums.encode())):
            (beside / name).write_bytes(content)


def read_folder(path: Path) -> StoredModel:
    """Read and check a whole model folder.

    Raises:
        ModelError: it is no model folder, or its content is not valid; HashError: a file is not the one written.
    """
    sums = _read_sums(path)
    configuration = _parse_configuration(_checked(path, CONFIG, sums), path / CONFIG)
    if configuration.export is not None:
        raise ModelError(f"{path} is exported for {configuration.export.engine}; this needs the model it came from")
    try:
        tensors = parse_tensors(_checked(path, WEIGHTS, sums))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path / WEIGHTS} is no valid safetensors file: {error}") from error
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(f"{path / WEIGHTS}: {name} holds values that are not finite; it can detect nothing")
    full = {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in tensors.items()}
    return StoredModel(configuration.model, full, configuration.provenance)


def read_export(path: Path) -> tuple[Configuration, dict[str, bytes]]:
    """The checked configuration and engine files of an exported model. Raises as `read_folder`."""
    sums = _read_sums(path)
    configuration = _parse_configuration(_checked(path, CONFIG, sums), path / CONFIG)
    if configuration.export is None:
        raise ModelError(f"{path} holds no exported model: ssd export {path} makes one")
    return configuration, {name: _checked(path, name, sums) for name in configuration.export.files}


def weights_hash(path: Path) -> str:
    """SHA-256 of a model folder's weights, as its sums state it; `""` where it has none. Raises as `read_folder`."""
    return _read_sums(path).get(WEIGHTS, "")


def read_configuration(path: Path) -> Configuration:
    """The checked configuration of a model folder, without its weights. Raises as `read_folder`."""
    return _parse_configuration(_checked(path, CONFIG, _read_sums(path)), path / CONFIG)


def read_spec(path: Path) -> ModelSpec:
    """The architecture of a model folder. Raises as `read_folder`."""
    return read_configuration(path).model


def verify(path: Path) -> None:
    """Compare every file of the folder with its hash; config, weights (or an engine's files) and card must have one.

    Raises:
        HashError: names the file that differs; ModelError: it is no model folder, or a file is missing.
    """
    sums = _read_sums(path)
    export = _parse_configuration(_checked(path, CONFIG, sums), path / CONFIG).export
    for name in {CARD, *(export.files if export else (WEIGHTS,)), *sums}:
        _checked(path, name, sums)


def _checked(path: Path, name: str, sums: Mapping[str, str]) -> bytes:
    """The content of a file of the folder, if it is what the sums say."""
    if name not in sums:
        raise HashError(f"{path / SUMS} lists no hash of {name}; the folder is damaged: restore it or train again")
    try:
        content = read_regular(path / name, _LARGEST.get(name, _LARGEST_WEIGHTS))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path / name} cannot be read: {_reason(error)}; {SUMS} lists it") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sums[name]:
        raise HashError(
            f"{path / name} is damaged: its SHA-256 is {found[:12]}..., {SUMS} says {sums[name][:12]}...; "
            "restore the folder or train again"
        )
    return content


def _read_sums(path: Path) -> dict[str, str]:
    try:
        text = read_regular(path / SUMS, _LARGEST[SUMS]).decode()
    except UnicodeDecodeError as error:
        raise HashError(f"{path / SUMS} is damaged: it is no text") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is no model folder: {SUMS} cannot be read ({_reason(error)})") from error
    sums: dict[str, str] = {}
    for line in text.splitlines():
        match = _SUM_LINE.fullmatch(line)
        if match is None or match[2] in sums:
            raise HashError(f"{path / SUMS} is damaged at {line[:80]!r}; restore the folder or train again")
        sums[match[2]] = match[1]
    return sums


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@cache
def _adapter() -> TypeAdapter[Configuration]:
    from pydantic import TypeAdapter  # late: 0.1 s that only reading a model needs

    return TypeAdapter(Configuration)


def _parse_configuration(content: bytes, path: Path) -> Configuration:
    from pydantic import ValidationError

    try:
        configuration = _adapter().validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(f"{path} is not valid at {place}: {first['msg']}") from error
    except SingleshotError as error:  # a specification that contradicts itself
        raise ModelError(f"{path} is not valid: {error}") from error
    if configuration.format != FORMAT:
        raise ModelError(f"{path} is of format {configuration.format}; this version reads format {FORMAT}")
    require_bounds(configuration.model, str(path))
    return configuration


def _halved(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f" or ".norm." in name or name.endswith(STATISTICS):
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.isfinite(half).all() else array


def _finite(value: Any) -> Any:
    """The same plain value with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
