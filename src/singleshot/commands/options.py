"""What a user may ask of `ssd evaluate`, `compare`, `analyze`, `boxes`, `explain`, `export`: flags, without torch."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter

from singleshot.errors import RequestError, UnknownNameError
from singleshot.tiles import OVERLAP, tiling_of

FLAT = Parameter(name="*")
"""The fields of a dataclass are flags of the verb."""

LABEL_SCORE = 0.3
"""Detections from this score on are labels to correct, unless the user asks for another."""
Format = Literal["openvino", "onnx", "torch", "aotinductor"]
Outputs = Literal["detections", "raw", "rows"]
PRECISIONS: dict[str, tuple[str, ...]] = {
    "openvino": ("fp32", "bf16", "int8"),
    "onnx": ("fp32",),
    "torch": ("fp32",),
    "aotinductor": ("fp32",),
}
"""By format. `openvino` and `onnx` run in a `Detector`; the others are for programs of one's own."""


@dataclass(frozen=True)
class DetectionSource:
    """A model, or a file, that has detections of a labelled set's images.

    Attributes:
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        detections: a file of detections instead: COCO results, our JSON, or VOC devkit text; of tracks, MOT text.
        split: which split; left out, the test split, else the validation split (by which `best/` was chosen: its
            figure there is too good). `held-out`: of a set without validation split the fifth that training
            without --seed held out.
        device: `auto`, `cpu` or `cuda`.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
        tile: side of tiles in pixels: images that are larger are searched in tiles, too, for their small objects.
        overlap: share of a tile that its neighbour has, too.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out, as stored
            where the annotations state the stored size of all of them.
        leave_out_faulty: leave images with faults out, named and counted, instead of refusing the set.

    Raises:
        RequestError: a model and a file; tiles of a file, or none that could be.
    """

    model: str | None = None
    detections: Path | None = None
    split: str | None = None
    device: str = "auto"
    backbone: str | None = None
    tile: int | None = None
    overlap: float = OVERLAP
    labels_on: Literal["stored", "displayed"] | None = None
    leave_out_faulty: Annotated[bool, Parameter(negative=())] = False

    def __post_init__(self) -> None:
        if self.model is not None and self.detections is not None:
            raise RequestError("give --model or --detections, not both")
        if self.tile is not None and self.detections is not None:
            raise RequestError("--tile is for a model: a file of detections has its boxes")
        tiling_of(self.tile, self.overlap)

    @property
    def inputs(self) -> list[str | Path]:
        """What is read, which no output may replace."""
        return [source for source in (self.model, self.detections) if source is not None]


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, and how.

    Attributes:
        data: the data set; or true tracks in MOTChallenge's format (`gt.txt`, or a folder with `gt/gt.txt`).
        source: what has the detections.
        protocol: `voc07`, `voc12`, `coco`, `ilsvrc`, or `proposals`: recall of the best 1, 2, 5 ... boxes, whatever
            their class; `mot`: how good tracks are; left out, `mot` for tracks, `proposals` for a class-agnostic
            model, that of COCO and ILSVRC data, else voc07.
        report: file for a page with curves and images.
        against: another such model of the same classes, evaluated on the same images: the difference in mAP, and
            whether it could be chance.
        label_score: the score from which `ssd label` would write detections as labels: how many of them are right, and
            what is left to draw, is counted at it.
        max_megapixels: decode images up to this size; left out, 50.

    Raises:
        RequestError: a score that is none.
    """

    data: str
    _: KW_ONLY
    source: Annotated[DetectionSource, FLAT] = DetectionSource()
    protocol: Literal["voc07", "voc12", "coco", "ilsvrc", "proposals", "mot"] | None = None
    report: Path | None = None
    against: str | None = None
    label_score: float = LABEL_SCORE
    max_megapixels: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_score <= 1:
            raise RequestError(f"--label-score is between 0 and 1, got {self.label_score:g}")

    @property
    def inputs(self) -> list[str | Path]:
        """What is read, which no output may replace."""
        return [self.data, *self.source.inputs, *([] if self.against is None else [self.against])]

    @property
    def only_reads_files(self) -> bool:
        """Annotations and detections suffice: no image is detected in or shown."""
        return self.source.detections is not None and self.report is None and self.against is None


@dataclass(frozen=True)
class CompareOptions:
    """What to compare, and on what.

    Attributes:
        runs: two or more: folders that `ssd train` wrote, model folders, exported models or names of shipped models.
            The others are compared with the first.
        data: a labelled set: all are evaluated on it. Left out, only what each recorded of itself is compared.
        split: which split; left out, the test split, else the validation split.
        protocol: `voc07`, `voc12`, `coco` or `ilsvrc`; left out, that of COCO and ILSVRC data, else voc07.
        report: file for a page with curves and the images on which two differ most.
        device: `auto`, `cpu` or `cuda`.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of models that were trained on a backbone of your own.

    Raises:
        RequestError: fewer than two runs, one of them twice, or a split of no set.
    """

    runs: tuple[str, ...]
    _: KW_ONLY
    data: str | None = None
    split: str | None = None
    protocol: Literal["voc07", "voc12", "coco", "ilsvrc"] | None = None
    report: Path | None = None
    device: str = "auto"
    backbone: str | None = None

    def __post_init__(self) -> None:
        if len(self.runs) < 2:
            raise RequestError(f"give two or more runs or models to compare, got {len(self.runs)}")
        places = [os.path.realpath(run) for run in self.runs]
        if len(set(places)) < len(places):
            raise RequestError(f"a run is given twice: {', '.join(self.runs)}")
        if self.data is None and (self.split is not None or self.protocol is not None):
            raise RequestError("--split and --protocol are of a labelled set: give it with --data DATA")

    @property
    def inputs(self) -> list[str | Path]:
        """What is read, which no output may replace."""
        return [*self.runs, *([] if self.data is None else [self.data])]


@dataclass(frozen=True)
class AnalyzeOptions:
    """What to analyse.

    Attributes:
        data: the data set.
        source: what has the detections.
        similar: classes that are easily confused, as `car,bus;cat,dog`; left out, the groups that are known for VOC's
            and COCO's classes.
        report: the page to write.
    """

    data: str
    _: KW_ONLY
    source: Annotated[DetectionSource, FLAT] = DetectionSource()
    similar: str | None = None
    report: Path = Path("analysis.html")

    @property
    def inputs(self) -> list[str | Path]:
        """What is read, which no output may replace."""
        return [self.data, *self.source.inputs]


@dataclass(frozen=True)
class BoxesOptions:
    """Which default boxes to measure on what, and the limits within which better ones are searched.

    Attributes:
        data: one or more data sets; several are joined.
        model: an architecture's name or a model folder; left out, `ssdlite320-mobilenetv2`.
        split: which split; left out, the one that training learns from.
        input_size: `WxH` of the network input.
        most: limit on the number of default boxes; left out, as many as there are, and more only where a class would
            have a recall below a third. More boxes cost time, and may cost accuracy.
        latency: limit on the network's milliseconds here, for one image in OpenVINO's fp32; it is measured.
        report: the page to write.
    """

    data: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    _: KW_ONLY
    model: str | None = None
    split: str | None = None
    input_size: str | None = None
    most: int | None = None
    latency: float | None = None
    report: Path = Path("boxes.html")

    @property
    def inputs(self) -> list[str]:
        """What is read, which no output may replace."""
        return [*self.data, *([] if self.model is None else [self.model])]


@dataclass(frozen=True)
class ExplainOptions:
    """What to explain.

    Attributes:
        image: an image file.
        model: a model folder or the name of a shipped model; left out, the shipped default.
        data: the labelled set that the image belongs to.
        score: detections from this score on.
        report: the page to write.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.

    Raises:
        RequestError: a score that is none.
    """

    image: Path
    _: KW_ONLY
    model: str | None = None
    data: str | None = None
    score: float = 0.5
    report: Path = Path("explained.html")
    backbone: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise RequestError(f"--score is between 0 and 1, got {self.score:g}")

    @property
    def inputs(self) -> list[str | Path]:
        """What is read, which no output may replace."""
        return [self.image, *(path for path in (self.data, self.model) if path is not None)]


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and how.

    Attributes:
        model: a model folder, a shipped model or an architecture; left out, the shipped default.
        out: folder to write; an earlier export in its place is replaced.
        format: `openvino` is fastest on processors; `onnx` runs with `pip install onnxruntime`; `torch` and
            `aotinductor` are for your own programs.
        precision: `fp32`; of openvino also `bf16`: half the size, faster where the processor has bf16, computed in fp32
            where it has not; and `int8`: a quarter of the size, fastest.
        calibrate: a labelled data set: int8 measures its scales on the training split; mAP before and after is
            measured on the validation split, else on the test split.
        max_map_drop: points of mAP, such as 0.5, that bf16 or int8 may cost on that data: the layers that hurt most
            stay at a higher precision until it holds. Left out, an export that costs more than 2 is refused.
        outputs: `detections`, the default, with NMS in the graph; `raw`, without it, for engines that have their own;
            `rows`, raw behind what classic ports give: one array of C + 4 + 8 numbers a default box, which are class
            scores, offsets, the box and its variances.
        raw: the same as `--outputs raw`.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.

    Raises:
        RequestError, UnknownNameError: options that contradict each other.
    """

    model: str | None = None
    _: KW_ONLY
    out: Path
    format: Format = "openvino"
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    calibrate: str | None = None
    max_map_drop: float | None = None
    outputs: Outputs | None = None
    raw: Annotated[bool, Parameter(negative=())] = False
    backbone: str | None = None

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("export format", self.format, PRECISIONS),
            (f"precision of {self.format}", self.precision, PRECISIONS.get(self.format, ())),
            ("outputs", self.graph_outputs, get_args(Outputs)),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.raw and self.outputs not in {None, "raw"}:
            raise RequestError(f"--raw is --outputs raw, which --outputs {self.outputs} contradicts: give one of them")
        if self.precision == "int8" and self.calibrate is None:
            raise RequestError("int8 measures its scales on your images: give a labelled set with --calibrate DATA")
        if self.max_map_drop is not None:
            if self.calibrate is None or self.precision == "fp32":
                raise RequestError("--max-map-drop needs a lower --precision, and --calibrate DATA to measure mAP on")
            if not 0 <= self.max_map_drop <= 100:
                raise RequestError(f"--max-map-drop is 0 to 100 points, got {self.max_map_drop:g}")
        if self.calibrate is not None and self.format not in {"openvino", "onnx"}:
            raise RequestError(f"--calibrate evaluates the export, which a Detector cannot do for {self.format}")

    @property
    def inputs(self) -> list[str]:
        """What is read, which no output may replace."""
        return [path for path in (self.model, self.calibrate) if path is not None]

    @property
    def graph_outputs(self) -> Outputs:
        """What the graph gives."""
        return self.outputs or ("raw" if self.raw else "detections")
