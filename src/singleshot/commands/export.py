"""`ssd export`: from a trained model to a verified folder that an engine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from singleshot.commands.options import ExportOptions
from singleshot.errors import RequestError
from singleshot.export import torch_package
from singleshot.export.calibration import AccuracyDrop, CalibrationData
from singleshot.export.card import export_card
from singleshot.export.quantizer import Quantizer
from singleshot.export.source import GraphSource, NetworkSource, Source
from singleshot.export.torch_package import program_outputs
from singleshot.export.verify import Differences, images_to_verify_on, verify
from singleshot.models.own_backbone import factory_of
from singleshot.models.ssd import SSD
from singleshot.runtime.backends import ENGINES, start_engine
from singleshot.runtime.find_model import find_model, shipped_models
from singleshot.spec import GRAPH
from singleshot.variants import VARIANTS, variant
from singleshot.weights.build import load_network
from singleshot.weights.folder import CONFIG, WEIGHTS, Export, read_folder, save_export
from singleshot.weights.learnt import LearntImages
from singleshot.weights.replace import require_replaceable

MAX_MAP_DROP = 0.02
"""mAP that an export may lose on the user's images before it is refused, where no other limit is given."""

OnStage = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        options: what was asked for.
        size: bytes of the engine's files.
        trained: whether the source had weights; an architecture alone gets seeded ones, good for timing only.
        differences: from the source.
        accuracy_drop: mAP before and after, where there were labelled images.
    """

    options: ExportOptions
    size: int
    trained: bool
    differences: Differences
    accuracy_drop: AccuracyDrop | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        options, drop = self.options, self.accuracy_drop
        values: dict[str, Any] = {
            "folder": str(options.out),
            "format": options.format,
            "precision": options.precision,
            "outputs": options.graph_outputs,
            "bytes": self.size,
            **asdict(self.differences),
        }
        if drop is not None:
            layers = list(drop.high_precision)
            values |= {"mAP_before": drop.before, "mAP_after": drop.after, "mAP_images": drop.images}
            values |= {"mAP_split": drop.split, "high_precision_layers": layers}
            values |= {"spared": layers, "mAP_pictures": drop.images}  # their names before
        return values


def export_model(options: ExportOptions, *, on_stage: OnStage = lambda _stage: None) -> Exported:
    """Export a model, verify what was made, and only then write it.

    Args:
        options: what to export, and how.
        on_stage: called with a few words at the beginning of each stage.

    Raises:
        RequestError: no such model, or a folder that may not be replaced.
        DataError: data that cannot be used.
        VerificationError: the export differs from its source; nothing was written.
    """
    trained = not _is_architecture(options.model)
    _require_no_model(options.out)
    require_replaceable(options.out)
    source, provenance, source_hash, learnt = _source(options)
    data = None if options.calibrate is None else CalibrationData.open(options.calibrate, source.spec)
    map_before = None
    if data is not None:
        on_stage("evaluating the source")
        map_before = data.mean_ap(source.backend(), on_image=_images_of(on_stage, "evaluating the source"))
    files, drop = _engine_files(source, options, data, map_before, on_stage)
    differences, drop = _verified(source, files, options, data, map_before, drop, on_stage)
    against_source = "; ".join(str(part) for part in (differences, drop) if part)
    card = export_card(
        source.spec,
        options.format,
        options.precision,
        against_source,
        outputs=options.graph_outputs,
        largest_batch=source.largest_batch,
    )
    export = Export(options.format, options.precision, tuple(files), source_hash)
    save_export(options.out, source.spec, files, export=export, card=card, provenance=provenance, learnt=learnt)
    return Exported(options, sum(map(len, files.values())), trained, differences, drop)


def _images_of(on_stage: OnStage, stage: str) -> Callable[[int, int], None]:
    """Tells how many images of a stage are done."""
    return lambda done, total: on_stage(f"{stage}: {done} of {total} images")


def _engine_files(
    source: Source, options: ExportOptions, data: CalibrationData | None, map_before: float | None, on_stage: OnStage
) -> tuple[dict[str, bytes], AccuracyDrop | None]:
    """The engine's files by name, the one to open first; and their drop of mAP where it was measured on the way."""
    on_stage("building the graph")
    if options.format != "openvino":
        assert isinstance(source, NetworkSource)
        return _files_of_network(source.network, options), None
    graph = source.openvino_graph(options.graph_outputs)
    quantizer = Quantizer(source.spec, graph, options.precision, data)
    if options.max_map_drop is not None:
        assert map_before is not None
        return quantizer.mixed_precision_files(options.max_map_drop / 100, map_before, on_stage)
    if options.precision == "int8":
        on_stage("measuring the range of activations")
    return quantizer.files(), None


def _files_of_network(network: SSD, options: ExportOptions) -> dict[str, bytes]:
    """The file of a format other than OpenVINO's."""
    if options.format == "onnx":
        from singleshot.export import onnx_graph

        return {onnx_graph.FILES[0]: onnx_graph.to_onnx(network, outputs=options.graph_outputs)}
    if options.format == "torch":
        return {torch_package.FILES[0]: torch_package.to_program(network, options.graph_outputs)}
    return {torch_package.FILES[0]: torch_package.to_machine_code(network, options.graph_outputs)}


def _verified(
    source: Source,
    files: Mapping[str, bytes],
    options: ExportOptions,
    data: CalibrationData | None,
    map_before: float | None,
    drop: AccuracyDrop | None,
    on_stage: OnStage,
) -> tuple[Differences, AccuracyDrop | None]:
    """The export read back and compared with its source; its drop of mAP, where there are labelled images."""
    on_stage("comparing with the source")
    spec = source.spec
    if options.format not in ENGINES:
        package = next(iter(files.values()))
        run = program_outputs(spec, package, options.graph_outputs, compiled=options.format == "aotinductor")
        return verify(run, source, images_to_verify_on(), options.precision), None
    backend = start_engine(options.format, spec, files, precision=options.precision, origin="the export")
    differences = verify(backend.outputs, source, images_to_verify_on(), options.precision)
    if data is not None and map_before is not None and drop is None:
        on_stage("evaluating the export")
        map_after = data.mean_ap(backend, on_image=_images_of(on_stage, "evaluating the export"))
        drop = data.accuracy_drop(map_before, map_after)
        drop.require_at_most(MAX_MAP_DROP)
    return differences, drop


def _source(options: ExportOptions) -> tuple[Source, Mapping[str, Any], str, LearntImages | None]:
    """What is exported, its provenance, the hash of its weights, and the images that it learnt."""
    model = options.model
    if _is_architecture(model):
        assert model is not None
        return NetworkSource(SSD(variant(model)).eval()), {"weights": "seed 0, not trained"}, "", None
    folder = find_model(model)
    if folder.spec.backbone == GRAPH:
        graph = GraphSource.of(folder, engine=options.format, precision=options.precision)
        return graph, folder.provenance, graph.weights_hash, folder.learnt()
    network = load_network(folder, backbone=factory_of(options.backbone))
    name = Path(model).name if model is not None else folder.path.name
    network.spec = replace(network.spec, name=name if name in VARIANTS else network.spec.name)
    return NetworkSource(network), folder.provenance, folder.weights_hash, folder.learnt()


def _is_architecture(model: str | None) -> bool:
    """Whether it names an architecture of which there are no weights here."""
    return model is not None and model in VARIANTS and model not in shipped_models() and not Path(model).is_dir()


def _require_no_model(out: Path) -> None:
    """Refuse a place that holds a model, or a graph that was imported: an export replaces exports only.

    Raises:
        RequestError: it holds one.
    """
    is_import = (out / CONFIG).is_file() and read_folder(out).is_imported_graph
    if (out / WEIGHTS).exists() or is_import:
        raise RequestError(f"{out} holds a model, which the export would replace: give another --out")
