"""Damaged annotation files, files of boxes and foreign weights: one of our errors, never a traceback or a crash.

    python benchmarks/fuzz_files.py [readers|boxes|importers ...] [--count 20000] [--seed 0]

A seeded mutator: values of JSON are replaced by wrong ones or dropped, bytes are changed, put in and cut out. Each room
runs in a process of its own, so that a crash is a figure, too. Exit 1 where anything but our errors came.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from own_process import in_own_process

from singleshot.data.check import check
from singleshot.data.recognise import open_data
from singleshot.errors import SingleshotError
from singleshot.types import Annotations

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from caffe_fixtures import blob, new_layer
from data_fixtures import image
from detections_writers import to_coco_results, to_document, write_devkit
from evaluation_examples import annotations, detections
from test_data_damaged import FILES, TEXTS, damaged
from tfjs_files import tensors
from tfjs_files import write as write_tfjs
from tflite_files import detector as tflite_detector

PROTOTXT = b"""name: "n"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 300 dim: 300 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "xavier" } } }
"""
Use = Callable[[Path], object]
Case = tuple[str, Path, bool, Use]
"""Name, a whole file in a folder that holds what else it needs, whether it is JSON, and what reads it."""


def readers(folder: Path) -> Iterator[Case]:
    """Annotation files of seven tools."""
    for name in (*FILES, *TEXTS):
        file = folder / name.replace(".", "-") / name
        file.parent.mkdir(parents=True)
        for number in range(2):
            image(file.parent / f"p{number}.png")
        file.write_bytes((json.dumps(FILES[name]) if name in FILES else TEXTS[name]).encode())
        yield f"{name}, read", file, name in FILES, open_data
        yield f"{name}, checked", file, name in FILES, check


def boxes(folder: Path) -> Iterator[Case]:
    """Detections as COCO's results, as our own JSON, and as text of the VOC devkit."""
    from singleshot.evaluate.detections_file import read_detections

    truth: Annotations = annotations([[(0, 0, 50, 50, 0)], [(10, 10, 30, 30, 1)]], ids=["000012", "000013"])
    rows = [detections([(0, 0, 48, 50, 0, 0.75), (1, 2, 3, 4, 1, 0.5)]), detections([(10, 10, 30, 30, 1, 0.25)])]
    contents = {"results.json": to_coco_results(truth, rows), "ours.json": to_document(truth, rows, model="m")}
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
        yield name, folder / name, True, lambda path: read_detections(path, truth)
    (text, *_) = write_devkit(folder / "devkit", truth, rows)
    yield text.name, text, False, lambda path: read_detections(path, truth)


def importers(folder: Path) -> Iterator[Case]:
    """A network and weights of Caffe's, a graph of TensorFlow Lite's, a manifest of TensorFlow.js's."""
    from singleshot.commands.import_weights import import_files
    from singleshot.graphs.tflite import read_tflite
    from singleshot.weights.importers.caffe_proto import read_caffemodel, read_prototxt

    contents = {
        "net.prototxt": PROTOTXT,
        "net.caffemodel": new_layer("c", blob([0.5] * 108, [4, 3, 3, 3]), blob([0.0] * 4, [4])),
        "graph.tflite": tflite_detector(),
    }
    for (name, content), use in zip(contents.items(), (read_prototxt, read_caffemodel, read_tflite), strict=True):
        (folder / name).write_bytes(content)
        yield name, folder / name, False, use
    yield "graph.tflite, imported", folder / "graph.tflite", False, lambda path: import_files([path], folder / "out")
    (folder / "tfjs").mkdir()
    write_tfjs(folder / "tfjs", tensors())
    manifest = folder / "tfjs" / "manifest.json"
    yield "manifest.json, imported", manifest, True, lambda path: import_files([path], folder / "out")


ROOMS = {room.__name__: room for room in (readers, boxes, importers)}


def fuzz(room: str, count: int, seed: int) -> tuple[bool, str]:
    """Whether only our errors came of so many damaged files, and the figure or the first traceback."""
    warnings.simplefilter("ignore")
    logging.disable()
    draw, outcomes = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        cases = list(ROOMS[room](Path(folder)))
        whole = [path.read_bytes() for _, path, _, _ in cases]
        for name, path, _, use in cases:
            try:
                use(path)
            except SingleshotError as error:
                return False, f"{name}: refused although it is whole: {error}"
        for number in range(count):
            case = number % len(cases)
            name, path, structured, use = cases[case]
            path.write_bytes(damaged(whole[case], structured=structured, draw=draw))
            try:
                use(path)
                outcomes["read"] += 1
            except SingleshotError:
                outcomes["refused"] += 1
            except Exception:  # noqa: BLE001  (what this exists to find)
                kept = Path(tempfile.gettempdir(), f"fuzz-{room}-{seed}-{number}{path.suffix}")
                kept.write_bytes(path.read_bytes())
                return False, f"{name}, mutation {number}, kept as {kept}:\n{traceback.format_exc()}"
            path.write_bytes(whole[case])
    return True, f"{count:,} files of {len(cases)} kinds, 0 crashes ({dict(outcomes)})"


def main() -> int:
    """Run the rooms; print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = False
    for room in options.rooms or ROOMS:
        kept, figure = in_own_process(fuzz, room, options.count, options.seed)
        failed = failed or not kept
        print(f"{room}: {figure}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
