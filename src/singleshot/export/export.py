"""From a trained model to a verified folder that an engine runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from singleshot.errors import RequestError, UnknownNameError
from singleshot.export.openvino_ir import halve_weights, serialised, to_openvino
from singleshot.export.verify import Differences, pictures_to_verify_on, verify
from singleshot.models.ssd import SSD
from singleshot.runtime.detector import find_model
from singleshot.runtime.openvino_backend import read_model
from singleshot.spec import VARIANTS, variant
from singleshot.weights.build import load_network
from singleshot.weights.folder import WEIGHTS, read_configuration, save_export, weights_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FORMATS = ("openvino",)
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        size: bytes of the engine's files.
        trained: whether the source had weights; an architecture alone gets seeded ones, good for timing only.
        differences: from the source.
    """

    folder: Path
    size: int
    trained: bool
    differences: Differences


def export_model(model: str | None, out: Path, *, engine: str = "openvino", precision: str = "fp32") -> Exported:
    """Export a model, verify what was made, and only then write it.

    Args:
        model: a model folder, a shipped model's name (None: the default), or an architecture (seeded weights).
        out: folder to write; an earlier export in its place is replaced.
        engine: one of `FORMATS`.
        precision: `fp32`, or `bf16`: weights stored in 16 bits, computed in bf16 where the processor can.

    Raises:
        RequestError, UnknownNameError: no such model, engine or precision.
        VerificationError: the export differs from its source; nothing was written.
    """
    for kind, name, known in (("export format", engine, FORMATS), ("precision", precision, PRECISIONS)):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    if (out / WEIGHTS).exists():
        raise RequestError(f"{out} holds a model, which the export would replace: give another --out")
    network, provenance, source = _source(model)
    graph = to_openvino(network)
    halve_weights(graph, only_exact=precision == "fp32")
    files = serialised(graph)
    differences = verify(read_model(files, origin="the export"), network, pictures_to_verify_on(), precision)
    card = _card(network, engine, precision, differences)
    save_export(
        out, network.spec, files, engine=engine, precision=precision, source=source, card=card, provenance=provenance
    )
    return Exported(out, sum(map(len, files.values())), model not in VARIANTS, differences)


def _source(model: str | None) -> tuple[SSD, Mapping[str, Any], str]:
    """The network, where it comes from, and the hash of its weights."""
    if model in VARIANTS:
        assert model is not None
        return SSD(variant(model)).eval(), {"weights": "seed 0, not trained"}, ""
    folder = find_model(model)
    network = load_network(folder)
    name = Path(model).name if model is not None else folder.name
    network.spec = replace(network.spec, name=name if name in VARIANTS else network.spec.name)
    return network, read_configuration(folder).provenance, weights_hash(folder)


def _card(network: SSD, engine: str, precision: str, differences: Differences) -> str:
    spec = network.spec
    height, width = spec.input_size_hw
    return "\n".join(
        [
            f"# {spec.name} for {engine}, {precision}",
            "",
            f"Detects: {', '.join(spec.class_names)}.",
            "",
            f"Against its source, {differences}.",
            "",
            f"- Input `pictures`: uint8 (B, {height}, {width}, 3) RGB, resized bilinearly without keeping proportions. "
            "Mean, scale and channel order are in the graph.",
            "- Output `detections`: float32 (1, 1, D, 7): picture, class (0 is background), score, left, top, right, "
            "bottom as fractions; a row of picture -1 ends it. Decoding, NMS and limits are in the graph.",
            "- `singleshot.Detector.load(FOLDER)` runs it without torch. Its settings also stand in the graph's "
            "`rt_info/singleshot`.",
            "",
        ]
    )
