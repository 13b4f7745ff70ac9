"""`ssd explain`: which default boxes detected something, and which would learn the objects (the paper's figure 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from singleshot.boxes import pairwise_iou
from singleshot.commands.learnt_images import learnt_overlap
from singleshot.commands.options import ExplainOptions
from singleshot.data.recognise import open_data
from singleshot.data.sample import ground_truth_to_learn
from singleshot.decode import decode_image
from singleshot.errors import RequestError
from singleshot.evaluate.box_table import require_common_class
from singleshot.models.own_backbone import factory_of
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.report.explanation import DefaultBox, Explanation, LabelledObject, Origin, write_explanation
from singleshot.runtime.engine import raw_detections
from singleshot.runtime.find_model import find_model
from singleshot.shapes import Float32, Int64, UInt8
from singleshot.spec import MapBoxes
from singleshot.ssd.coder import decode
from singleshot.ssd.detection import RawDetections, to_detections
from singleshot.ssd.loss import background_softmax_loss, hard_negatives
from singleshot.ssd.matching import match
from singleshot.ssd.tensors import Matches, probabilities
from singleshot.train.recipe import migrate_recipe
from singleshot.types import Annotations
from singleshot.weights.build import load_network


@dataclass(frozen=True, eq=False)
class GroundTruthToLearn:
    """Objects of an image, and how a training would match default boxes with them.

    Attributes:
        boxes_xyxy: fractions of the image.
        labels: their classes, 0..L-1 in the network's numbering.
        iou_threshold: from which IoU boxes learn an object.
        negative_ratio: negatives a positive that are mined.
    """

    boxes_xyxy: Float32[np.ndarray, "R 4"]
    labels: Int64[np.ndarray, " R"]
    iou_threshold: float = 0.5
    negative_ratio: float = 3.0


def explain_image(options: ExplainOptions, *, on_note: Callable[[str], None] = lambda _text: None) -> Explanation:
    """Explain one image and write the page.

    Args:
        options: what to explain.
        on_note: called with lines for people.

    Raises:
        RequestError: an exported model or a graph, which have no weights to follow; the set does not hold the image.
        DataError: model and set have no class in common.
        ImageError: the image cannot be used.
    """
    folder = find_model(options.model)
    name = options.model or folder.path.name
    folder.require_layers()
    if not folder.weights_hash:
        raise RequestError(
            f"{folder.path} is an export: its weights cannot be followed; give the model folder it came from"
        )
    pixels = decode_image(options.image)
    network = load_network(folder, backbone=factory_of(options.backbone))
    ground_truth = None
    if options.data is not None:
        annotations = open_data(options.data, headers=False)
        index = _index(annotations, options.image, options.data)
        require_common_class(name, network.spec.class_names, options.data, annotations.class_names)
        recipe = folder.provenance.get("recipe", {})
        recipe = migrate_recipe(recipe) if isinstance(recipe, dict) else {}
        ground_truth = _ground_truth(annotations, index, pixels.shape[:2], network.spec.class_names, recipe)
    learnt = learnt_overlap(folder, [options.image], on_note=on_note)
    explanation = explain(network, pixels, score=options.score, ground_truth=ground_truth)
    explanation = replace(explanation, learnt_images=learnt)
    write_explanation(options.report, f"{options.image.name} by {name}", pixels, explanation)
    return explanation


def _index(annotations: Annotations, image: Path, data: str) -> int:
    """Which image of the set a file is: the same path, else the only one of its name."""
    path = image.resolve()
    named = [i for i, file in enumerate(annotations.files) if Path(file).name == image.name]
    exact = [i for i in named if annotations.path(i).resolve() == path]
    if len(exact or named) != 1:
        count = f"{len(named)} images of that name" if named else "no image of that name"
        raise RequestError(f"{data} has {count}: {image.name}")
    return (exact or named)[0]


def _ground_truth(
    annotations: Annotations,
    index: int,
    size_hw: Sequence[int],
    known: Sequence[str],
    recipe: Mapping[str, object],
) -> GroundTruthToLearn:
    """The objects of an image whose classes the network knows, with the model's own recipe."""
    height, width = size_hw
    boxes, labels, _ = ground_truth_to_learn(annotations.ground_truth(index), width=width, height=height)
    number = {name: label for label, name in enumerate(known)}
    names = [annotations.class_names[label] for label in labels]
    rows = [row for row, name in enumerate(names) if name in number]
    learnt = GroundTruthToLearn(boxes[rows], np.array([number[names[row]] for row in rows], np.int64))
    iou_threshold, ratio = (
        value if isinstance(value := recipe.get(name), float) else default
        for name, default in (("iou_threshold", learnt.iou_threshold), ("negative_ratio", learnt.negative_ratio))
    )
    return GroundTruthToLearn(learnt.boxes_xyxy, learnt.labels, iou_threshold, ratio)


@torch.inference_mode()
def explain(
    network: SSD, image: UInt8[np.ndarray, "H W 3"], *, score: float, ground_truth: GroundTruthToLearn | None = None
) -> Explanation:
    """Run a network on one image and trace everything to default boxes.

    Args:
        network: in evaluation mode.
        image: RGB pixels.
        score: detections from this score on.
        ground_truth: the image's objects; None where they are not known.
    """
    spec = network.spec
    height, width = image.shape[:2]
    inputs = torch.from_numpy(to_network_input(image, spec.input_size_hw, spec.preprocess))[None]
    predictions = network(inputs)
    scores = probabilities(predictions.logits, spec.postprocess.scores)[0].numpy()
    offsets, default_boxes = predictions.offsets[0].numpy(), network.default_boxes.numpy()
    raw = raw_detections(spec, default_boxes, offsets[None], scores[None])[0]
    detections = to_detections(raw, width, height, spec.class_names).above(score)
    named = _DefaultBoxes(network, width=width, height=height)
    decoded = decode(offsets, default_boxes, spec.boxes.variances)
    origins = tuple(_origin(raw, row, decoded, scores, named, score=score) for row in range(len(detections)))
    objects: tuple[LabelledObject, ...] = ()
    mined: tuple[tuple[DefaultBox, float], ...] = ()
    if ground_truth is not None and len(ground_truth.labels):
        objects, mined = _learnt(network, predictions.logits, ground_truth, named)
    counts = [sum(origin.default_box.source == name for origin in origins) for name in spec.sources]
    maps = tuple(zip(spec.sources, named.counts, counts, strict=True))
    threshold = GroundTruthToLearn.iou_threshold if ground_truth is None else ground_truth.iou_threshold
    return Explanation(detections, origins, objects, mined, maps, threshold)


def _origin(
    raw: RawDetections,
    row: int,
    decoded: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    named: _DefaultBoxes,
    *,
    score: float,
) -> Origin:
    """Where a detection came from: the default box of this score whose decoded box is the nearest."""
    column = scores[:, raw.labels[row] + 1]
    same = np.flatnonzero(column == raw.scores[row])
    number = int(same[np.abs(decoded[same] - raw.boxes_xyxy[row]).max(axis=1).argmin()])
    rivals = (column >= score) & (_ious(decoded, decoded[number]) > named.spec.postprocess.nms_threshold)
    iou = float(_ious(named.fractions[number][None], decoded[number])[0])
    return Origin(named[number], iou, int(rivals.sum()) - 1)


def _learnt(
    network: SSD, logits: torch.Tensor, ground_truth: GroundTruthToLearn, named: _DefaultBoxes
) -> tuple[tuple[LabelledObject, ...], tuple[tuple[DefaultBox, float], ...]]:
    """How each object would be learnt, and the background that would be mined, hardest first."""
    matches = match(
        network.default_boxes,
        torch.from_numpy(ground_truth.boxes_xyxy)[None],
        torch.ones(1, len(ground_truth.labels), dtype=torch.bool),
        iou_threshold=ground_truth.iou_threshold,
    )
    losses = background_softmax_loss(logits)
    matched = matches.ground_truth >= 0
    hard = hard_negatives(losses, matched, matches.ious, negative_ratio=ground_truth.negative_ratio)
    numbers = np.flatnonzero(hard[0].numpy())
    numbers = numbers[np.argsort(-losses[0].numpy()[numbers], kind="stable")]
    mined = tuple((named[int(number)], float(losses[0, number])) for number in numbers)
    return tuple(_objects(ground_truth, matches, named)), mined


def _objects(ground_truth: GroundTruthToLearn, matches: Matches, named: _DefaultBoxes) -> list[LabelledObject]:
    assigned = matches.ground_truth[0].numpy()
    objects = []
    for row, (box, label) in enumerate(zip(ground_truth.boxes_xyxy, ground_truth.labels, strict=True)):
        ious = _ious(named.fractions, box)
        best = int(ious.argmax())
        learning = tuple(named[int(number)] for number in np.flatnonzero(assigned == row))
        name = named.spec.class_names[label]
        objects.append(LabelledObject(name, named.in_pixels(box), named[best], float(ious[best]), learning))
    return objects


class _DefaultBoxes:
    """Every default box of a network by its number, with the name of its map, its cell and its shape."""

    def __init__(self, network: SSD, *, width: int, height: int) -> None:
        self.spec = network.spec
        self.sizes_hw = network.map_sizes_hw
        self.scale = np.array([width, height, width, height], np.float32)
        self.fractions = network.default_boxes.numpy()
        pairs = zip(self.sizes_hw, self.spec.boxes.maps, strict=True)
        self.counts = [rows * columns * boxes.boxes_per_cell for (rows, columns), boxes in pairs]
        self.starts = np.cumsum([0, *self.counts])

    def __getitem__(self, number: int) -> DefaultBox:
        index = int(np.searchsorted(self.starts, number, side="right")) - 1
        boxes, (_, columns) = self.spec.boxes.maps[index], self.sizes_hw[index]
        cell, kind = divmod(number - int(self.starts[index]), boxes.boxes_per_cell)
        row, column = divmod(cell, columns)
        box, shape = self.in_pixels(self.fractions[number]), _shapes(boxes)[kind]
        return DefaultBox(number, self.spec.sources[index], self.sizes_hw[index], (column, row), shape, box)

    def in_pixels(self, box: Float32[np.ndarray, " 4"]) -> tuple[float, float, float, float]:
        """A box in pixels of the image."""
        left, top, right, bottom = (box * self.scale).tolist()
        return left, top, right, bottom


def _shapes(boxes: MapBoxes) -> list[str]:
    """What each box of a cell is, in the order of `default_boxes.cell_sizes`."""
    shapes = [f"{width:.3g}x{height:.3g}" for width, height in boxes.sizes_wh]
    for place, size in enumerate(boxes.min_sizes):
        shapes.append(f"square {size:g}")
        if boxes.max_sizes:
            shapes.append(f"square {(size * boxes.max_sizes[place]) ** 0.5:.3g}")
        shapes += [f"{ratio:g}:1" if ratio > 1 else f"1:{1 / ratio:g}" for ratio in boxes.ratios]
    return shapes


def _ious(boxes: Float32[np.ndarray, "K 4"], box: Float32[np.ndarray, " 4"]) -> Float32[np.ndarray, " K"]:
    ious: np.ndarray = pairwise_iou(boxes, box[None])[:, 0]
    return np.nan_to_num(ious)  # type: ignore[no-any-return]
