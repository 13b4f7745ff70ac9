"""Read an ILSVRC DET tree: `Annotations/DET/PART/ID.xml`, `Data/DET/PART/ID.JPEG`, `ImageSets/DET/SPLIT.txt`.

PART is train, val or test. A line of a list is an id and a number. The development kit has a training list for each of
the 200 classes, whose lines end with 1 where the image has the class: the split `train` is their union. The halves of
val by Girshick et al. are lists like any other, `val1.txt` and `val2.txt`. Objects are labelled by WordNet synsets,
which become the kit's 200 English names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.class_names import ILSVRC_CLASSES, ILSVRC_NAMES
from singleshot.data.faults import Fault
from singleshot.data.voc_xml import LIMIT_BYTES, VocImage, read_voc_xml
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import read_list, read_regular

ANNOTATIONS, IMAGES, LISTS = "Annotations/DET", "Data/DET", "ImageSets/DET"
PARTS = ("train", "val", "test")
_OF_CLASS = re.compile(r"train_(\d+|pos_\d+|neg_\d+|part\d+)$")
TRAIN = "train"


def is_ilsvrc(folder: Path) -> bool:
    """Whether a folder is an ILSVRC DET tree."""
    return (folder / LISTS).is_dir() and (folder / ANNOTATIONS).is_dir()


def ilsvrc_splits(root: Path) -> list[str]:
    """Names of the lists; all lists of single classes count as one, `train`."""
    names = [path.stem for path in sorted((root / LISTS).glob("[!.]*.txt"))]
    whole = [name for name in names if not _OF_CLASS.match(name)]
    return [*([TRAIN] if len(whole) < len(names) and TRAIN not in whole else []), *whole]


def read_ilsvrc(root: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a tree, or of one of its splits, and the faults of its files.

    Raises:
        DataError: a list cannot be read, or no annotations.
        UnknownNameError: no such split.
    """
    known = ilsvrc_splits(root)
    if split is not None and split not in known:
        raise UnknownNameError("split", split, known)
    if split is None:
        places = [
            path.relative_to(root / ANNOTATIONS).with_suffix("").as_posix()
            for part in PARTS
            for path in sorted((root / ANNOTATIONS / part).rglob("[!.]*.xml"))
        ]
    else:
        part = next((part for part in PARTS if split.startswith(part)), "val")
        places = [f"{part}/{identity}" for identity in _listed(root, split)]
    if not places:
        nothing = f"no annotation in {ANNOTATIONS}/{' or '.join(PARTS)}"
        raise DataError(f"{root}: {nothing if split is None else f'the split {split} is empty'}")
    return _read(root, places)


def _listed(root: Path, split: str) -> Iterable[str]:
    """The ids of a split, each once."""
    own = root / LISTS / f"{split}.txt"
    if own.is_file():
        return dict.fromkeys(line.split()[0] for line in read_list(own))
    positives: dict[str, None] = {}
    for path in sorted((root / LISTS).glob(f"{TRAIN}_*.txt")):
        if not _OF_CLASS.match(path.stem) or "_neg_" in path.stem:
            continue
        for line in read_list(path):
            identity, *number = line.split()
            if not number or number[0] == "1":
                positives[identity] = None
    return positives


def _read(root: Path, places: list[str]) -> ReadResult:
    builder, faults = AnnotationBuilder(), list[Fault]()
    for place in places:
        name, image = f"{ANNOTATIONS}/{place}.xml", f"{IMAGES}/{place}.JPEG"
        annotation = VocImage("", 0, 0, (), ())
        try:
            annotation = read_voc_xml(read_regular(root / name, LIMIT_BYTES), name)
        except FileNotFoundError:
            faults.append(Fault("missing annotation", name, "the list names it"))
        except (ValueError, OSError) as error:
            faults.append(Fault("malformed", name, str(error)))
        if not (root / image).is_file():
            faults.append(Fault("missing image", name, f"no image {image}"))
        identity = place.partition("/")[2]
        builder.add_image(image, identity, width=annotation.width, height=annotation.height)
        for number, box, synset, _ in annotation.objects:
            builder.add_box(box, ILSVRC_NAMES.get(synset, synset), number=number)
        faults += annotation.faults
    unknown = sorted(set(builder.class_numbers) - set(ILSVRC_CLASSES))
    return builder.finish(faults, format_name="ilsvrc", root=root, class_names=(*ILSVRC_CLASSES, *unknown))
