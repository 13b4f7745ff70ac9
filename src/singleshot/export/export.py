"""From a trained model to a verified folder that an engine runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from singleshot.errors import RequestError, UnknownNameError
from singleshot.export.calibrate import Calibration, Judgement, judge, quantised
from singleshot.export.openvino_ir import halve_weights, serialised, to_openvino
from singleshot.export.verify import Differences, pictures_to_verify_on, verify
from singleshot.models.ssd import SSD
from singleshot.runtime.detector import find_model
from singleshot.runtime.openvino_backend import read_model
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.spec import VARIANTS, variant
from singleshot.weights.build import load_network
from singleshot.weights.folder import WEIGHTS, read_configuration, save_export, weights_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

FORMATS = ("openvino",)
PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        size: bytes of the engine's files.
        trained: whether the source had weights; an architecture alone gets seeded ones, good for timing only.
        differences: from the source.
        judgement: mAP before and after, where there were pictures to judge by.
    """

    folder: Path
    size: int
    trained: bool
    differences: Differences
    judgement: Judgement | None


def export_model(
    model: str | None,
    out: Path,
    *,
    engine: str = "openvino",
    precision: str = "fp32",
    calibrate: str | None = None,
    on_stage: Callable[[str], None] = lambda _stage: None,
) -> Exported:
    """Export a model, verify what was made, and only then write it.

    Args:
        model: a model folder, a shipped model's name (None: the default), or an architecture (seeded weights).
        out: folder to write; an earlier export in its place is replaced.
        engine: one of `FORMATS`.
        precision: `fp32`; `bf16`: weights stored in 16 bits, computed in bf16 where the processor can; `int8`.
        calibrate: a labelled data set: `int8` measures its scales on it, and the mAP before and after is judged by it.
        on_stage: called with a few words at the beginning of each stage.

    Raises:
        RequestError, UnknownNameError: no such model, engine or precision; int8 without data.
        DataError: data that cannot be used.
        VerificationError: the export differs from its source; nothing was written.
    """
    for kind, name, known in (("export format", engine, FORMATS), ("precision", precision, PRECISIONS)):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    if (out / WEIGHTS).exists():
        raise RequestError(f"{out} holds a model, which the export would replace: give another --out")
    if precision == "int8" and calibrate is None:
        raise RequestError("int8 measures its scales on your pictures: give a labelled set with --calibrate DATA")
    network, provenance, source = _source(model)
    calibration = None if calibrate is None else Calibration.open(calibrate, network.spec)
    on_stage("building the graph")
    graph = to_openvino(network)
    if precision == "int8":
        assert calibration is not None
        on_stage("measuring the range of activations")
        graph = quantised(graph, calibration.pictures(network.spec.input_size_hw))
    halve_weights(graph, only_exact=precision != "bf16")
    files = serialised(graph)
    on_stage("comparing with the source")
    read_back = read_model(files, origin="the export")
    differences = verify(read_back, network, pictures_to_verify_on(), precision)
    judgement = None
    if calibration is not None:
        on_stage("evaluating before and after")
        judgement = judge(calibration.judged, TorchBackend(network, torch.device("cpu")), read_back, precision)
    card = _card(network, engine, precision, "; ".join(str(part) for part in (differences, judgement) if part))
    save_export(
        out, network.spec, files, engine=engine, precision=precision, source=source, card=card, provenance=provenance
    )
    return Exported(out, sum(map(len, files.values())), model not in VARIANTS, differences, judgement)


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


def _card(network: SSD, engine: str, precision: str, against_source: str) -> str:
    spec = network.spec
    height, width = spec.input_size_hw
    return "\n".join(
        [
            f"# {spec.name} for {engine}, {precision}",
            "",
            f"Detects: {', '.join(spec.class_names)}.",
            "",
            f"Against its source: {against_source}.",
            "",
            f"- Input `pictures`: uint8 (B, {height}, {width}, 3) RGB, resized bilinearly without keeping proportions. "
            "Mean, scale and channel order are in the graph.",
            "- Outputs: `offsets` (B, K, 4) encoded boxes, `probabilities` (B, K, C), class 0 is background, and "
            "`default_boxes` (K, 4) as fractions. Decoding and NMS are the caller's.",
            "- `singleshot.Detector.load(FOLDER)` runs it without torch. Its settings also stand in the graph's "
            "`rt_info/singleshot`.",
            "",
        ]
    )
