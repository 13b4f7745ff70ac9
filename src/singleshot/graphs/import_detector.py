"""From a file of TensorFlow's to a model: a network of ours where its layers are known, else its own graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from singleshot.errors import ModelError, RequestError
from singleshot.graphs.detector_graph import DetectorGraph, evaluate, read_detector_graph
from singleshot.graphs.engine import engine_files, graph_spec
from singleshot.graphs.label_map import Names, default_names, names_of_lines, read_label_map
from singleshot.graphs.tfjs import TFJSWeights, is_tfjs, read_tfjs
from singleshot.runtime.openvino_core import opset9
from singleshot.spec import ModelSpec
from singleshot.weights.importers.tensorflow_layers import layers_of, without_rounding
from singleshot.weights.importers.tensorflow_named import ASSUMED, FITTED, POSTPROCESS, VARIANCES, read_named
from singleshot.weights.importers.tensorflow_ssd import DetectorFacts, read_detector, require_equal

FACE = ("face", "???")
"""The two ids of face-api's detector, which uses the first alone."""


@dataclass(frozen=True, eq=False)
class ImportedDetector:
    """A detector of TensorFlow's.

    Attributes:
        spec: what it is.
        boxes: K, how many default boxes it has.
        state: the tensors of our network; None where it is its own graph.
        files: the engine's files of the graph; None where it is a network of ours.
        remarks: what was guessed or converted, a line each.
        not_trainable: why it is no network of ours; empty where it is.
        shards: files that the given one names.
    """

    spec: ModelSpec
    boxes: int
    state: dict[str, Tensor] | None
    files: dict[str, bytes] | None
    remarks: tuple[str, ...]
    not_trainable: str = ""
    shards: tuple[Path, ...] = ()


def is_tensorflow(path: Path) -> bool:
    """Whether a path is of a kind that is read here."""
    return path.suffix in {".tflite", ".pb"} or is_tfjs(path) or path.is_dir()


def import_detector(
    path: Path,
    *,
    labels: Path | None = None,
    class_names: Sequence[str] | None = None,
    size_hw: tuple[int, int] | None = None,
) -> ImportedDetector:
    """Read a detector.

    Args:
        path: `.tflite`, frozen `.pb`, the folder of a SavedModel, a graph of TensorFlow.js (`model.json`), or the
            manifest of its weights alone.
        labels: a label file; None: that inside the file, or default names.
        class_names: the names themselves, one an id.
        size_hw: input size, where the graph takes images of any.

    Raises:
        RequestError, ModelError: as `read_detector_graph`, `read_tfjs`, `read_named` and `read_label_map`; names for
            another number of ids.
    """
    tfjs = read_tfjs(path) if is_tfjs(path) else None
    if tfjs is not None and tfjs.topology is None:
        return _of_manifest(path, tfjs, labels, class_names, size_hw)
    graph = read_detector_graph(path, size_hw=size_hw, tfjs=tfjs)
    shards = () if tfjs is None else tfjs.shards
    names, about_names = _names(graph.num_labels, graph.labels, labels, class_names, graph.origin)
    remarks = (*graph.remarks, *about_names)
    facts = _facts(graph, names)
    exact, roundings = _without_rounding(graph)
    offsets, logits = (result.input(0).get_source_output() for result in exact.model.get_results())
    try:
        layers = layers_of(exact.model.get_ordered_ops(), offsets, logits, evaluate, origin=graph.origin)
        spec, state = read_detector(layers, facts)
        require_equal(spec, state, exact.run, facts)
    except ModelError as error:
        files = engine_files(graph, names)
        return ImportedDetector(graph_spec(graph, names), graph.boxes, None, files, remarks, str(error), shards)
    if roundings:
        remarks = (*remarks, f"rounding between layers ({roundings} times) is left out: it runs in floating point")
    return ImportedDetector(spec, graph.boxes, state, None, remarks, shards=shards)


def _without_rounding(graph: DetectorGraph) -> tuple[DetectorGraph, int]:
    """The graph in floating point where it rounds between its layers, and how often it did."""
    model = graph.model.clone()
    roundings = without_rounding(model, opset9, evaluate)
    return replace(graph, model=model), roundings


def _facts(graph: DetectorGraph, names: Names) -> DetectorFacts:
    return DetectorFacts(
        input_size_hw=graph.input_size_hw,
        class_names=names,
        anchors=graph.anchors,
        rounding=graph.rounding,
        variances=graph.variances,
        preprocess=graph.preprocess,
        postprocess=graph.postprocess,
        background=graph.background,
        origin=graph.origin,
    )


def _of_manifest(
    path: Path,
    weights: TFJSWeights,
    labels: Path | None,
    class_names: Sequence[str] | None,
    size_hw: tuple[int, int] | None,
) -> ImportedDetector:
    """A network of ours from named tensors, which come without a graph to compare it with."""
    if size_hw is not None:
        raise RequestError(f"{path} says the size of its input itself: leave --size out")
    origin = str(path)
    named = read_named(weights.tensors, origin)
    count = named.columns - 1
    names, remarks = _names(count, FACE if count == len(FACE) else None, labels, class_names, origin)
    facts = DetectorFacts(
        input_size_hw=named.input_size_hw,
        class_names=names,
        anchors=named.anchors,
        rounding=0.0,
        variances=VARIANCES,
        preprocess=named.preprocess,
        postprocess=POSTPROCESS,
        background=True,
        origin=origin,
    )
    spec, state = read_detector(named.layers, facts)
    said = (*weights.remarks, ASSUMED, FITTED, *remarks)
    return ImportedDetector(spec, len(named.anchors), state, None, said, shards=weights.shards)


def _names(
    count: int, own: Sequence[str] | None, labels: Path | None, class_names: Sequence[str] | None, origin: str
) -> tuple[Names, tuple[str, ...]]:
    """A name for each of so many ids, and what to say of them; `own` are the lines of a label file inside the file."""
    remarks: tuple[str, ...] = ()
    if labels is not None and class_names is not None:
        raise RequestError("--labels and --classes both name the classes: give one")
    if labels is not None:
        names = read_label_map(labels, count)
    elif class_names is not None:
        names = names_of_lines(class_names, count, "--classes")
    elif own is not None:
        names = names_of_lines(own, count, f"the label file in {origin}")
    else:
        names, remark = default_names(count)
        remarks = (remark,)
    holes = sum(name is None for name in names)
    left_out = (f"{holes} of {count} ids have no class and are left out",) if holes else ()
    return names, (*remarks, *left_out)
