"""A model on disk: a folder with `config.json`, `model.safetensors`, `README.md` and `SHA256SUMS`. Needs no torch.

`learnt.safetensors` is there, too, where it is known which images the model learnt.

It contains no code: the configuration is validated strictly, weights are plain arrays, and every file has a hash.
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

from singleshot.errors import HashError, ModelError, RequestError
from singleshot.files import read_regular, validated
from singleshot.spec import FORBID_UNKNOWN_FIELDS, GRAPH, ModelSpec, migrate_spec
from singleshot.weights.bounds import require_bounds
from singleshot.weights.learnt import LearntImages, format_learnt, parse_learnt
from singleshot.weights.replace import replaced_folder

FORMAT = 1
CONFIG, WEIGHTS, CARD, SUMS = "config.json", "model.safetensors", "README.md", "SHA256SUMS"
LEARNT = "learnt.safetensors"
_LARGEST = {CONFIG: 4 * 2**20, SUMS: 2**20, LEARNT: 2**30}
"""Bytes: 200 class names and all boxes need some ten thousand, 60 million images a gigabyte."""
_LARGEST_WEIGHTS = 2**34
STATISTICS = ("running_mean", "running_var")  # of batch normalisation, under any name before it
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\n\0]+)")


Precision: TypeAlias = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True)
class Export:
    """What a folder says of the exported model in it.

    Attributes:
        engine: what runs it, such as `openvino`.
        precision: what it computes in.
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
        format: version of the folder's format.
        model: the whole architecture with class names, default boxes, pre- and post-processing.
        provenance: how the model came to be: recipe, data, command, figures. Plain values; no reader needs them.
        export: set where the folder holds a model for an engine.
    """

    format: int
    model: ModelSpec
    provenance: dict[str, Any] = field(default_factory=dict)
    export: Export | None = None

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """A model folder whose SHA256SUMS and `config.json` were read and checked, once; see `read_folder`.

    Weights and an engine's files are read, and compared with their hashes, when they are asked for.

    Attributes:
        path: where it lies.
        spec: the architecture.
        provenance: see `Configuration`.
        export: set where the folder holds a model for an engine in place of weights.
        hashes: SHA-256 of each file by name, as SHA256SUMS states them.
    """

    path: Path
    spec: ModelSpec
    provenance: dict[str, Any]
    export: Export | None
    hashes: Mapping[str, str]

    def require_layers(self) -> None:
        """Refuse the graph of another framework, which has no layers of ours.

        Raises:
            RequestError: it is one; says why it is no network of ours.
        """
        if self.spec.backbone == GRAPH:
            raise RequestError(
                f"{self.path} is a graph for OpenVINO, no network of ours: it detects, evaluates and exports (--format "
                f"openvino) as it is, but cannot be trained or shown layer by layer. Why: {self.not_trainable}"
            )

    @property
    def not_trainable(self) -> str:
        """Why a graph of another framework is no network of ours."""
        return str(self.provenance.get("not_trainable", "no reason is given in its config.json"))

    @property
    def is_imported_graph(self) -> bool:
        """Whether it holds a graph of another framework as it was imported, not an export of one."""
        return self.spec.backbone == GRAPH and self.export is not None and not self.export.source

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights; `""` in an export, which has none."""
        return self.hashes.get(WEIGHTS, "")

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights by name, float32 whatever precision they are stored in.

        Raises:
            ModelError: an export, which has none, or weights that are not valid; HashError: not the file written.
            RequestError: see `require_layers`.
        """
        self.require_layers()
        if self.export is not None:
            raise ModelError(f"{self.path} is exported for {self.export.engine}; this needs the model it came from")
        try:
            tensors = parse_tensors(self._read(WEIGHTS))
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{self.path / WEIGHTS} is no valid safetensors file: {error}") from error
        for name, array in tensors.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ModelError(f"{self.path / WEIGHTS}: {name} holds values that are not finite; it detects nothing")
        return {
            name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in tensors.items()
        }

    def learnt(self) -> LearntImages | None:
        """The images that it learnt; None where the folder does not say.

        Raises:
            ModelError: the file is not valid; HashError: not the file written.
        """
        return parse_learnt(self._read(LEARNT), str(self.path / LEARNT)) if LEARNT in self.hashes else None

    def engine_files(self) -> dict[str, bytes]:
        """The engine's own files of an export, by name.

        Raises:
            ModelError: no export, or a file is missing; HashError: a file is not the one written.
        """
        if self.export is None:
            raise ModelError(f"{self.path} holds no exported model: ssd export {self.path} makes one")
        return {name: self._read(name) for name in self.export.files}

    def verify(self) -> None:
        """Compare every file with its hash; weights (or an engine's files) and card must have one.

        Raises:
            HashError: names the file that differs; ModelError: a file is missing.
        """
        for name in {CARD, *(self.export.files if self.export else (WEIGHTS,)), *self.hashes}:
            self._read(name)

    def _read(self, name: str) -> bytes:
        return _checked(self.path, name, self.hashes)


def save_folder(
    path: Path,
    spec: ModelSpec,
    tensors: Mapping[str, np.ndarray],
    *,
    card: str,
    provenance: Mapping[str, Any] | None = None,
    learnt: LearntImages | None = None,
    half: bool = False,
) -> None:
    """Write a model folder; an older one in its place is replaced as a whole or not at all.

    Args:
        path: the folder.
        spec: the architecture.
        tensors: all weights by name.
        card: the model card, Markdown.
        provenance: see `Configuration`; values that are not finite become null.
        learnt: the images that it learnt; None writes nothing on them.
        half: store weights as float16 (half the size; read back as float32). Statistics of batch normalisation and
            tensors beyond float16's range stay as they are.

    Raises:
        MachineError: the disk is full; RequestError: the place cannot be written to. What was there is unchanged.
    """
    stored = {name: np.asarray(_halved(name, array) if half else array, order="C") for name, array in tensors.items()}
    _write(path, Configuration(FORMAT, spec, dict(provenance or {})), {WEIGHTS: format_tensors(stored)}, card, learnt)


def save_export(
    path: Path,
    spec: ModelSpec,
    engine_files: Mapping[str, bytes],
    *,
    export: Export,
    card: str,
    provenance: Mapping[str, Any] | None = None,
    learnt: LearntImages | None = None,
) -> None:
    """Write an exported model as a folder; see `Export` for what is said of it and `save_folder` for the rest."""
    _write(path, Configuration(FORMAT, spec, dict(provenance or {}), export), engine_files, card, learnt)


def _write(
    path: Path, configuration: Configuration, weights: Mapping[str, bytes], card: str, learnt: LearntImages | None
) -> None:
    require_bounds(configuration.model, "the model")
    values = asdict(replace(configuration, provenance=_finite(configuration.provenance)))
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    files = {CONFIG: text.encode(), **weights, CARD: card.encode()}
    if learnt is not None:
        files[LEARNT] = format_learnt(learnt)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    with replaced_folder(path) as beside:
        for name, content in (*files.items(), (SUMS, sums.encode())):
            (beside / name).write_bytes(content)


def read_folder(source: Path | ModelFolder) -> ModelFolder:
    """Read and check what a model folder says of itself; what was read before is handed on as it is.

    Raises:
        ModelError: it is no model folder, or its configuration is not valid; HashError: a file is not the one written.
    """
    if isinstance(source, ModelFolder):
        return source
    hashes = _read_sums(source)
    content = _parse_configuration(_checked(source, CONFIG, hashes), source / CONFIG)
    return ModelFolder(source, content.model, content.provenance, content.export, hashes)


def read_spec(path: Path) -> ModelSpec:
    """The architecture of a model folder. Raises as `read_folder`."""
    return read_folder(path).spec


def _checked(path: Path, name: str, sums: Mapping[str, str]) -> bytes:
    """The content of a file whose hash is the one in the sums."""
    if name not in sums:
        raise HashError(f"{path / SUMS} lists no hash of {name}; the folder is damaged: restore it or train again")
    try:
        content = read_regular(path / name, _LARGEST.get(name, _LARGEST_WEIGHTS))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path / name} cannot be read: {_reason(error)}; {SUMS} lists it") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sums[name]:
        raise HashError(
            f"{path / name} is damaged: its SHA-256 is {actual[:12]}..., {SUMS} says {sums[name][:12]}...; "
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
    configuration = validated(_adapter(), _migrated(content), str(path), ModelError)
    if configuration.format != FORMAT:
        raise ModelError(f"{path} is of format {configuration.format}; this version reads format {FORMAT}")
    require_bounds(configuration.model, str(path))
    return configuration


def _migrated(content: bytes) -> bytes:
    """A configuration of any version in today's form; what is no configuration stays, for the validation to refuse."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if not isinstance(values, dict) or "model" not in values:
        return content
    return json.dumps({**values, "model": migrate_spec(values["model"])}).encode()


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
