"""Follow detections back to their default boxes, and objects on to the boxes that learn them (the paper's figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from singleshot.boxes import pairwise_iou
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.shapes import Float32, Int64, UInt8
from singleshot.spec import MapBoxes
from singleshot.ssd.coder import decode
from singleshot.ssd.detection import Found, postprocess, to_detections
from singleshot.ssd.loss import background_softmax_loss, hard_negatives
from singleshot.ssd.matching import match
from singleshot.ssd.tensors import Matches
from singleshot.types import Detections


@dataclass(frozen=True)
class Place:
    """One default box.

    Attributes:
        number: its row among all K.
        source: name of the map.
        map_size_hw: rows and columns of the map.
        cell_xy: column and row of the cell.
        shape: what it is in its cell: `square 30`, `square 60 (root)`, `2:1`, `1:3`.
        box_xyxy: pixels of the image, not cut to it.
    """

    number: int
    source: str
    map_size_hw: tuple[int, int]
    cell_xy: tuple[int, int]
    shape: str
    box_xyxy: tuple[float, float, float, float]

    def __str__(self) -> str:
        """For people: `conv8_2 10x10, cell (3, 4), 2:1`."""
        (rows, columns), (x, y) = self.map_size_hw, self.cell_xy
        return f"{self.source} {columns}x{rows}, cell ({x}, {y}), {self.shape}"


@dataclass(frozen=True)
class Source:
    """Where a detection came from.

    Attributes:
        place: the default box that predicted it.
        overlap: IoU of that default box with the detection.
        suppressed: how many other default boxes said the same and lost to it in NMS.
    """

    place: Place
    overlap: float
    suppressed: int


@dataclass(frozen=True)
class Learnt:
    """How a ground-truth box would be learnt.

    Attributes:
        label: class name.
        box_xyxy: pixels of the image.
        best: the default box that overlaps it most.
        overlap: IoU of the two.
        places: the default boxes that learn it, the one of the one-to-one assignment among them.
    """

    label: str
    box_xyxy: tuple[float, float, float, float]
    best: Place
    overlap: float
    places: tuple[Place, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """An image explained.

    Attributes:
        detections: what was found, best first.
        sources: of each detection.
        learnt: of each ground-truth box; empty where none were given.
        mined: the default boxes that hard negative mining would take, hardest first, with the loss of each.
        maps: for each source map, its name, default boxes, and how many of the detections came from it.
        overlap_threshold: from which overlap boxes learn.
    """

    detections: Detections
    sources: tuple[Source, ...]
    learnt: tuple[Learnt, ...]
    mined: tuple[tuple[Place, float], ...]
    maps: tuple[tuple[str, int, int], ...]
    overlap_threshold: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "detections": [
                {**one, "default_box": _plain(source.place), "overlap": source.overlap, "suppressed": source.suppressed}
                for one, source in zip(self.detections.to_dicts(), self.sources, strict=True)
            ],
            "truths": [
                {
                    "label": one.label,
                    "box": list(one.box_xyxy),
                    "best_overlap": one.overlap,
                    "learnt_by": [_plain(place) for place in one.places],
                }
                for one in self.learnt
            ],
            "mined": [{**_plain(place), "loss": loss} for place, loss in self.mined],
            "maps": [{"source": name, "boxes": boxes, "detections": found} for name, boxes, found in self.maps],
            "overlap_threshold": self.overlap_threshold,
        }


@torch.inference_mode()
def explain(
    network: SSD,
    image: UInt8[np.ndarray, "H W 3"],
    *,
    score: float,
    ground_truth_xyxy: Float32[np.ndarray, "R 4"] | None = None,
    labels: Int64[np.ndarray, " R"] | None = None,
    overlap_threshold: float = 0.5,
    negative_ratio: float = 3.0,
) -> Explanation:
    """Run a network on one image and trace everything to default boxes.

    Args:
        network: in evaluation mode.
        image: RGB pixels.
        score: detections from this score on.
        ground_truth_xyxy: objects as fractions of the image; None where they are not known.
        labels: their classes, 0..L-1 in the network's numbering.
        overlap_threshold: from which overlap boxes would learn.
        negative_ratio: negatives a positive that would be mined.
    """
    spec = network.spec
    height, width = image.shape[:2]
    inputs = torch.from_numpy(to_network_input(image, spec.input_size_hw, spec.preprocess))[None]
    predictions = network(inputs)
    offsets, scores = predictions.offsets[0].numpy(), predictions.logits[0].softmax(dim=-1).numpy()
    default_boxes = network.default_boxes.numpy()
    found = postprocess(offsets, scores, default_boxes, spec.boxes.variances, spec.postprocess, sums_to_one=True)
    detections = to_detections(found, width, height, spec.class_names).above(score)
    places = _Places(network, width=width, height=height)
    sources = _sources(found, len(detections), offsets, scores, places, score=score)
    learnt: tuple[Learnt, ...] = ()
    mined: tuple[tuple[Place, float], ...] = ()
    if ground_truth_xyxy is not None and labels is not None and len(labels):
        there = torch.ones(1, len(labels), dtype=torch.bool)
        matches = match(
            network.default_boxes, torch.from_numpy(ground_truth_xyxy)[None], there, overlap_threshold=overlap_threshold
        )
        learnt = _learnt(ground_truth_xyxy, labels, matches, places)
        losses = background_softmax_loss(predictions.logits)
        hard = hard_negatives(
            losses,
            matches.ground_truth >= 0,
            matches.overlaps,
            negative_ratio=negative_ratio,
        )
        numbers = np.flatnonzero(hard[0].numpy())
        numbers = numbers[np.argsort(-losses[0].numpy()[numbers], kind="stable")]
        mined = tuple((places[int(number)], float(losses[0, number])) for number in numbers)
    counts = [sum(source.place.source == name for source in sources) for name in spec.sources]
    maps = tuple(zip(spec.sources, places.counts, counts, strict=True))
    return Explanation(detections, sources, learnt, mined, maps, overlap_threshold)


def _sources(
    found: Found,
    count: int,
    offsets: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    places: _Places,
    *,
    score: float,
) -> tuple[Source, ...]:
    """Where the first so many detections came from."""
    spec = places.spec
    boxes = decode(offsets, places.fractions, spec.boxes.variances)
    sources = []
    for row in range(count):
        column = scores[:, found.labels[row] + 1]
        same = np.flatnonzero(column == found.scores[row])
        number = int(same[np.abs(boxes[same] - found.boxes_xyxy[row]).max(axis=1).argmin()])
        rivals = (column >= score) & (_overlaps(boxes, boxes[number]) > spec.postprocess.nms_threshold)
        overlap = float(_overlaps(places.fractions[number][None], boxes[number])[0])
        sources.append(Source(places[number], overlap, int(rivals.sum()) - 1))
    return tuple(sources)


def _learnt(
    ground_truth_xyxy: Float32[np.ndarray, "R 4"], labels: Int64[np.ndarray, " R"], matches: Matches, places: _Places
) -> tuple[Learnt, ...]:
    """How each ground-truth box would be learnt."""
    of_boxes = matches.ground_truth[0].numpy()
    learnt = []
    for row, (box, label) in enumerate(zip(ground_truth_xyxy, labels, strict=True)):
        overlaps = _overlaps(places.fractions, box)
        best = int(overlaps.argmax())
        left, top, right, bottom = (box * places.scale).tolist()
        own = tuple(places[int(number)] for number in np.flatnonzero(of_boxes == row))
        name = places.spec.class_names[label]
        learnt.append(Learnt(name, (left, top, right, bottom), places[best], float(overlaps[best]), own))
    return tuple(learnt)


class _Places:
    """Every default box of a network by its number, told in words."""

    def __init__(self, network: SSD, *, width: int, height: int) -> None:
        self.spec = network.spec
        self.sizes_hw = network.map_sizes_hw
        self.scale = np.array([width, height, width, height], np.float32)
        self.fractions = network.default_boxes.numpy()
        pairs = zip(self.sizes_hw, self.spec.boxes.maps, strict=True)
        self.counts = [rows * columns * boxes.boxes_per_cell for (rows, columns), boxes in pairs]
        self.starts = np.cumsum([0, *self.counts])

    def __getitem__(self, number: int) -> Place:
        index = int(np.searchsorted(self.starts, number, side="right")) - 1
        boxes, (_, columns) = self.spec.boxes.maps[index], self.sizes_hw[index]
        cell, kind = divmod(number - int(self.starts[index]), boxes.boxes_per_cell)
        row, column = divmod(cell, columns)
        left, top, right, bottom = (self.fractions[number] * self.scale).tolist()
        return Place(
            number,
            self.spec.sources[index],
            self.sizes_hw[index],
            (column, row),
            _shapes(boxes)[kind],
            (left, top, right, bottom),
        )


def _shapes(boxes: MapBoxes) -> list[str]:
    """What each box of a cell is, in the order of `default_boxes.cell_sizes`."""
    found = []
    for place, size in enumerate(boxes.min_sizes):
        found.append(f"square {size:g}")
        if boxes.max_sizes:
            found.append(f"square {(size * boxes.max_sizes[place]) ** 0.5:.3g}")
        found += [f"{ratio:g}:1" if ratio > 1 else f"1:{1 / ratio:g}" for ratio in boxes.ratios]
    return found


def _overlaps(boxes: Float32[np.ndarray, "K 4"], box: Float32[np.ndarray, " 4"]) -> Float32[np.ndarray, " K"]:
    overlaps: np.ndarray = pairwise_iou(boxes, box[None])[:, 0]
    return np.nan_to_num(overlaps)  # type: ignore[no-any-return]


def _plain(place: Place) -> dict[str, Any]:
    return {
        "number": place.number,
        "source": place.source,
        "map": [place.map_size_hw[1], place.map_size_hw[0]],
        "cell": list(place.cell_xy),
        "shape": place.shape,
        "box": [round(value, 2) for value in place.box_xyxy],
    }


def ground_truth_in_numbering(
    labels: Int64[np.ndarray, " R"], names: Sequence[str], known: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the ground-truth boxes whose classes a network knows, and their labels in its numbering."""
    number = {name: label for label, name in enumerate(known)}
    rows = np.array([row for row, label in enumerate(labels) if names[label] in number], np.int64)
    return rows, np.array([number[names[labels[row]]] for row in rows], np.int64)
