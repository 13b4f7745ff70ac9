"""From a trained model to a verified folder that an engine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from singleshot.errors import RequestError, UnknownNameError
from singleshot.export import torch_package
from singleshot.export.calibrate import Calibration, Judgement
from singleshot.export.card import export_card
from singleshot.export.engine_graph import OUTPUTS
from singleshot.export.lowering import Lowering
from singleshot.export.openvino_ir import to_openvino
from singleshot.export.torch_package import program_outputs
from singleshot.export.verify import Differences, images_to_verify_on, verify
from singleshot.models.ssd import SSD
from singleshot.runtime.backends import ENGINES, start_engine
from singleshot.runtime.find_model import find_model
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.spec import VARIANTS, variant
from singleshot.weights.build import load_network
from singleshot.weights.folder import WEIGHTS, Export, Precision, read_configuration, save_export, weights_hash
from singleshot.weights.replace import require_replaceable

PRECISIONS = {"openvino": ("fp32", "bf16", "int8"), "onnx": ("fp32",), "torch": ("fp32",), "aotinductor": ("fp32",)}
"""By format. `openvino` and `onnx` run in a `Detector`; the others are for programs of one's own."""

MOST_LOST = 0.02
"""mAP that an export may lose on the user's images before it is refused."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        size: bytes of the engine's files.
        trained: whether the source had weights; an architecture alone gets seeded ones, good for timing only.
        differences: from the source.
        judgement: mAP before and after, where there were images to judge by.
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
    most_lost: float | None = None,
    outputs: str = "detections",
    on_stage: Callable[[str], None] = lambda _stage: None,
) -> Exported:
    """Export a model, verify what was made, and only then write it.

    Args:
        model: a model folder, a shipped model's name (None: the default), or an architecture (seeded weights).
        out: folder to write; an earlier export in its place is replaced.
        engine: a key of `PRECISIONS`.
        precision: `fp32`; `bf16`: weights stored in 16 bits, computed in bf16 where the processor can; `int8`.
        calibrate: a labelled data set: `int8` measures its scales on it, and the mAP before and after is judged by it.
        most_lost: mAP that may be lost on that data, 0..1: layers that hurt stay at a higher precision (`bf16`: fp32;
            `int8`: bf16, or fp32 where the processor has none). None: an export that loses more than 0.02 is refused.
        outputs: a key of `OUTPUTS`: `detections`; `raw`: without decoding and NMS, for engines that have their own, as
            `Detector` has; `rows`: raw behind one array of C + 4 + 8 numbers a default box. `torch` and `aotinductor`
            never have NMS inside.
        on_stage: called with a few words at the beginning of each stage.

    Raises:
        RequestError, UnknownNameError: no such model, engine, precision or outputs; int8 without data.
        DataError: data that cannot be used.
        VerificationError: the export differs from its source; nothing was written.
    """
    _require_sensible(out, engine, precision, outputs, calibrate, most_lost)
    network, provenance, source = _source(model)
    spec = network.spec
    calibration = None if calibrate is None else Calibration.open(calibrate, spec)
    before = None
    if calibration is not None:
        on_stage("evaluating the source")
        before = calibration.mean_ap(TorchBackend(network, torch.device("cpu")))
    on_stage("building the graph")
    judgement = None
    if most_lost is not None:
        assert calibration is not None
        assert before is not None
        lowering = Lowering(spec, to_openvino(network, outputs=outputs), precision, calibration)
        files, judgement = lowering.files_that_lose_at_most(most_lost, before, on_stage)
    else:
        files = _files(network, engine, precision, calibration, outputs=outputs, on_stage=on_stage)
    on_stage("comparing with the source")
    if engine in ENGINES:
        backend = start_engine(engine, spec, files, precision=precision, origin="the export")
        differences = verify(backend.outputs, network, images_to_verify_on(), precision)
        if calibration is not None and before is not None and judgement is None:
            on_stage("evaluating the export")
            judgement = calibration.judgement(before, calibration.mean_ap(backend))
            judgement.require_at_most(MOST_LOST)
    else:
        run = program_outputs(spec, next(iter(files.values())), outputs, compiled=engine == "aotinductor")
        differences = verify(run, network, images_to_verify_on(), precision)
    against_source = "; ".join(str(part) for part in (differences, judgement) if part)
    card = export_card(spec, engine, precision, against_source, outputs=outputs)
    export = Export(engine, cast("Precision", precision), tuple(files), source)
    save_export(out, spec, files, export=export, card=card, provenance=provenance)
    return Exported(out, sum(map(len, files.values())), model not in VARIANTS, differences, judgement)


def _require_sensible(
    out: Path, engine: str, precision: str, outputs: str, calibrate: str | None, most_lost: float | None
) -> None:
    """Refuse what could not end well, before anything costs time."""
    for kind, name, known in (
        ("export format", engine, PRECISIONS),
        (f"precision of {engine}", precision, PRECISIONS.get(engine, ())),
        ("outputs", outputs, OUTPUTS),
    ):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    if (out / WEIGHTS).exists():
        raise RequestError(f"{out} holds a model, which the export would replace: give another --out")
    require_replaceable(out)
    if precision == "int8" and calibrate is None:
        raise RequestError("int8 measures its scales on your images: give a labelled set with --calibrate DATA")
    if most_lost is not None:
        if calibrate is None or precision == "fp32":
            raise RequestError("--most-lost needs a lower --precision, and --calibrate DATA to judge it by")
        if not 0 <= most_lost <= 1:
            raise RequestError(f"--most-lost is 0 to 100 points, got {100 * most_lost:g}")
    if calibrate is not None and engine not in ENGINES:
        raise RequestError(f"--calibrate evaluates the export, which a Detector cannot do for {engine}")


def _files(
    network: SSD,
    engine: str,
    precision: str,
    calibration: Calibration | None,
    *,
    outputs: str,
    on_stage: Callable[[str], None],
) -> dict[str, bytes]:
    """The engine's files by name, the one to open first."""
    if engine == "onnx":
        from singleshot.export import onnx_graph

        return {onnx_graph.FILES[0]: onnx_graph.to_onnx(network, outputs=outputs)}
    if engine == "torch":
        return {torch_package.FILES[0]: torch_package.to_program(network, outputs)}
    if engine == "aotinductor":
        return {torch_package.FILES[0]: torch_package.to_machine_code(network, outputs)}
    if precision == "int8":
        on_stage("measuring the range of activations")
    return Lowering(network.spec, to_openvino(network, outputs=outputs), precision, calibration).files()


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
