"""Read YOLO: a text file an image, a line an object (`yolo_lines`), in one of many layouts (`yolo_layout`).

Boxes are fractions of the displayed image; the image's header gives the size. An image without a text file is
background, which a remark counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.faults import MISSING, Fault
from singleshot.data.images import sizes_or_reasons
from singleshot.data.yolo_label_files import LabelFiles
from singleshot.data.yolo_layout import ListedImages, YoloSet, list_images, remark_on_numbers, yolo_set
from singleshot.data.yolo_lines import CONFIDENCE, OUTLINE, POSE, parse_line
from singleshot.errors import UnknownNameError
from singleshot.files import LIST_LIMIT_BYTES, read_lines, read_list

_REMARKS = {
    CONFIDENCE: "lines hold a number more, such as a confidence, which is not read",
    OUTLINE: "objects are outlines or oriented boxes: their upright boxes are used",
    POSE: "objects have key points, which are not read",
}


def read_yolo(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a split, or of all splits, and the faults of the files.

    Raises:
        DataError: as `yolo_set`, or the class names cannot be read.
        UnknownNameError: no such split.
    """
    dataset = yolo_set(path)
    if split is not None and split not in dataset.sources:
        raise UnknownNameError("split", split, [name for name in dataset.sources if name])
    listed = {name: list_images(dataset, name) for name in dataset.sources}
    labels = LabelFiles(dataset.root, names=dataset.label_folders)
    labels.look_up(list(dict.fromkeys(file for images in listed.values() for file in images.files)))
    wanted = list(listed.values()) if split is None else [listed[split]]
    names = dataset.names or _numbered_names(labels)
    remarks = [*dataset.remarks, *([] if dataset.names or not names else [remark_on_numbers(len(names))])]
    return _Reader(dataset, labels, names, remarks).read(wanted)


@dataclass
class _Reader:
    """What is known of a set while its images are read."""

    dataset: YoloSet
    labels: LabelFiles
    names: dict[int, str]
    remarks: list[str]
    builder: AnnotationBuilder = field(default_factory=AnnotationBuilder)
    faults: list[Fault] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def read(self, wanted: list[ListedImages]) -> ReadResult:
        root = self.dataset.root
        images = list(dict.fromkeys(file for listed in wanted for file in listed.files))
        self.faults += [fault for listed in wanted for fault in listed.faults]
        missing = {fault.file for fault in self.faults}
        sizes = sizes_or_reasons([root / image for image in images])
        for image, size in zip(images, sizes, strict=True):
            if isinstance(size, str):
                if image not in missing:
                    kind = "unreadable image" if (root / image).is_file() else MISSING
                    self.faults.append(Fault(kind, image, size.removeprefix(f"{root / image}: ")))
                size = (0, 0)
            self.builder.add_image(image, Path(image).stem, width=size[0], height=size[1])
            if (file := self.labels.of_image[image]) is not None:
                self._add_labels(file, size)
        self.faults += [
            Fault(MISSING, file, "labels an image that is not there") for file in self.labels.without_image(images)
        ]
        remarks = [*self.remarks, *(remark for listed in wanted for remark in listed.remarks), *self._remarks(images)]
        return self.builder.finish(
            self.faults, format_name="yolo", root=root, class_names=tuple(self.names.values()), remarks=remarks
        )

    def _add_labels(self, file: str, size: tuple[int, int]) -> None:
        """Add the objects of one label file to the image that was added last."""
        try:
            lines = read_lines(self.dataset.root / file, LIST_LIMIT_BYTES)
        except (OSError, ValueError) as error:
            self.faults.append(Fault("malformed", file, f"not a text file: {error}"))
            return
        width, height = (side or 1 for side in size)
        for number, line in enumerate((line for line in lines if line.strip()), 1):
            try:
                label, box, kind = parse_line(line, pose_numbers=self.dataset.pose_numbers)
            except ValueError as error:
                self.faults.append(Fault("malformed", file, str(error), number))
                continue
            if label not in self.names:
                detail = f"class {label}; the set names {len(self.names)} classes"
                self.faults.append(Fault("unknown class", file, detail, number))
                continue
            self.kinds[kind] += 1
            pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
            self.builder.add_box(pixels, self.names[label], number=number)

    def _remarks(self, images: list[str]) -> list[str]:
        lines = [f"{self.kinds[kind]} {text}" for kind, text in _REMARKS.items() if self.kinds[kind]]
        read = set(images)
        without = [image for image in images if self.labels.of_image[image] is None]
        if without:
            looked_for = self.labels.places(without[0])[0]
            if other := self.labels.elsewhere(without[0]):
                looked_for += f"; {other} is there: call its folder labels"
            lines.append(
                f"{len(without)} of {len(images)} images have no label file and count as background, "
                f"such as {without[0]} (looked for {looked_for})"
            )
        if in_other_letters := [image for image in self.labels.other_letters if image in read]:
            file, example = self.labels.of_image[in_other_letters[0]], in_other_letters[0]
            lines.append(
                f"{len(in_other_letters)} label files are written in other letters, such as {file} for {example}"
            )
        if doubled := [image for image in self.labels.doubled if image in read]:
            first, second = self.labels.places(doubled[0])
            lines.append(f"{len(doubled)} images have two label files, such as {first}, which is read, and {second}")
        return lines


def _numbered_names(labels: LabelFiles) -> dict[int, str]:
    """Names for a set that gives none: `class 0` to the highest number of all splits."""
    highest = -1
    for file in filter(None, labels.of_image.values()):
        words = [line.split()[0] for line in read_list(labels.root / file)]
        highest = max([highest, *(int(word) for word in words if word.isdecimal() and len(word) < 5)])
    return {number: f"class {number}" for number in range(highest + 1)}
