"""Detections of an imported model beside those of the file's own runtime: LiteRT, OpenVINO or TensorFlow.js.

python scripts/compare_with_runtime.py FILE MODEL IMAGES [--labels FILE] [--count 20] [--json RUNTIME.json]

Both get the same image, resized by OpenCV. `--json` writes the runtime's detections of all images, for
`ssd evaluate DATA --detections RUNTIME.json`. LiteRT, for a .tflite, is `pip install ai-edge-litert`; a .pb runs by
OpenVINO. For TensorFlow.js, `npm install @tensorflow/tfjs @tensorflow/tfjs-backend-wasm`, and FILE lies in a folder
below; for face-api's manifest also `@vladmandic/face-api`, and FILE is the one in its package.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from singleshot import Detector
from singleshot.decode import decode_image
from singleshot.graphs.detector_graph import DetectorGraph, read_detector_graph
from singleshot.graphs.label_map import Names, default_names, read_label_map
from singleshot.runtime.openvino_core import core
from singleshot.ssd.detection import postprocess
from singleshot.types import Detections
from singleshot.weights.build import load_network

LEAST_SCORE = 0.05
"""Below it detections are many, and which of them stay in a list of ten is chance."""
Runtime = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""An image of the input size -> boxes (n, 4) as y1, x1, y2, x2 fractions, ids from 0, scores."""


def by_litert(file: Path, graph: DetectorGraph) -> Runtime:
    """The detections of a `.tflite` file by LiteRT; raw outputs are decoded by ours."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    entry, results = interpreter.get_input_details()[0], interpreter.get_output_details()

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, deviation = (np.array(row, np.float32) for row in (graph.preprocess.mean_rgb, graph.preprocess.std_rgb))
        pixels = image if entry["dtype"] == np.uint8 else ((image - mean) / deviation).astype(np.float32)
        interpreter.set_tensor(entry["index"], pixels[None])
        interpreter.invoke()
        values = [interpreter.get_tensor(result["index"])[0] for result in results]
        if len(values) == 4:  # boxes, classes, scores; by their shapes, as some converters give another order
            boxes = next(value for value in values if np.ndim(value) == 2)
            rows = [value for value in values if np.ndim(value) == 1]
            whole = [bool((row == np.round(row)).all()) for row in rows]
            ids, scores = (rows[0], rows[1]) if whole[0] and not whole[1] else (rows[1], rows[0])
            return boxes, ids.astype(int), scores
        offsets, logits = sorted(values, key=lambda value: value.shape[1] != 4)
        return decoded(graph, offsets, 1 / (1 + np.exp(-logits)))

    return run


def decoded(graph: DetectorGraph, offsets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections of raw outputs, for a file that leaves decoding to the program around it."""
    assert graph.anchors is not None
    raw = postprocess(offsets[:, [1, 0, 3, 2]], scores, graph.anchors, graph.variances, graph.postprocess)
    return raw.boxes_xyxy[:, [1, 0, 3, 2]], raw.labels, raw.scores


def by_openvino(file: Path) -> Runtime:
    """The detections of a frozen graph or SavedModel, which have their own post-processing; classes count from 1."""
    compiled = core().compile_model(core().read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = [
        next(port for port in compiled.outputs if f"detection_{name}" in {n.removesuffix(":0") for n in port.names})
        for name in ("boxes", "classes", "scores")
    ]

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        results = compiled(image[None])
        boxes, ids, scores = (results[output][0] for output in outputs)
        return boxes, ids.astype(int) - 1, scores

    return run


FACE_API = """
const fs = require('fs'), [folder, manifest] = process.argv.slice(1);
const tf = require('@tensorflow/tfjs');
require('@tensorflow/tfjs-backend-wasm');
const faceapi = require(folder + '/dist/face-api.node-wasm.js');
(async () => {
  await tf.setBackend('wasm');
  const [group] = JSON.parse(fs.readFileSync(manifest));
  const shard = new Uint8Array(fs.readFileSync(folder + '/model/' + group.paths[0])).buffer;
  const network = new faceapi.SsdMobilenetv1();
  network.loadFromWeightMap(tf.io.decodeWeights(shard, group.weights));
  const side = 512, image = tf.tensor3d(new Uint8Array(fs.readFileSync(0)), [side, side, 3], 'int32');
  const faces = await network.locateFaces(image, {minConfidence: 0.01, maxResults: 100});
  console.log(JSON.stringify(faces.map(({score, relativeBox: {x, y, width, height}}) =>
    [y, x, y + height, x + width, score])));
})();
"""

GRAPH_MODEL = """
const fs = require('fs'), path = require('path'), [file, height, width] = process.argv.slice(1);
const tf = require('@tensorflow/tfjs');
require('@tensorflow/tfjs-backend-wasm');
(async () => {
  await tf.setBackend('wasm');
  const {modelTopology, weightsManifest} = JSON.parse(fs.readFileSync(file));
  const shards = weightsManifest.flatMap(group => group.paths).map(name => path.join(path.dirname(file), name));
  const weightData = new Uint8Array(Buffer.concat(shards.map(name => fs.readFileSync(name)))).buffer;
  const weightSpecs = weightsManifest.flatMap(group => group.weights);
  const model = await tf.loadGraphModel(tf.io.fromMemory({modelTopology, weightSpecs, weightData}));
  const image = tf.tensor4d(new Uint8Array(fs.readFileSync(0)), [1, +height, +width, 3], 'int32');
  const names = ['boxes', 'classes', 'scores'].map(name => 'detection_' + name);
  const results = await model.executeAsync(image, names);
  console.log(JSON.stringify(results.map(result => result.arraySync()[0])));
})();
"""


def by_node(program: str, image: np.ndarray, folder: Path, *arguments: str) -> Any:
    """What a program for Node.js prints of an image, the packages above a folder at hand."""
    command = ["node", "-e", program, *arguments]
    result = subprocess.run(command, input=image.tobytes(), capture_output=True, check=True, cwd=folder)  # noqa: S603
    return json.loads(result.stdout.splitlines()[-1])


def by_tfjs(file: Path) -> Runtime:
    """The detections of a graph model, which has its own post-processing inside; its classes count from 1."""

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sides = map(str, image.shape[:2])
        boxes, ids, scores = by_node(GRAPH_MODEL, image, file.resolve().parent, str(file.resolve()), *sides)
        return np.array(boxes), np.array(ids).astype(int) - 1, np.array(scores)

    return run


def by_face_api(file: Path) -> Runtime:
    """The detections of face-api, the first of two ids of each box, by Node.js; its boxes are cut to the image."""
    package = file.resolve().parents[1]

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        faces = by_node(FACE_API, image, package, str(package), str(file.resolve()))
        rows = np.array(faces).reshape(-1, 5)
        return rows[:, :4], np.zeros(len(rows), int), rows[:, 4]

    return run


def differences(theirs: Detections, ours: Detections, size_wh: tuple[int, int]) -> list[tuple[float, float]]:
    """Of each detection of the runtime the nearest one of ours of its class: box as a fraction of the image, score."""
    scale = np.array(size_wh * 2, np.float32)
    pairs = []
    for box, name, score in zip(theirs.boxes, theirs.names, theirs.scores, strict=True):
        same = [place for place, other in enumerate(ours.names) if other == name]
        apart = [np.abs((ours.boxes[place] - box) / scale).max() for place in same]
        nearest = int(np.argmin(apart)) if same else -1
        pairs.append((apart[nearest], abs(float(ours.scores[same[nearest]] - score))) if same else (np.inf, np.inf))
    return pairs


def named_runtime(file: Path, model: Path, labels: Path | None, class_names: tuple[str, ...]) -> tuple[Names, Runtime]:
    """The name of each id, and what runs the file; `class_names` are those of the imported model."""
    if file.suffix == ".json":
        return class_names, by_face_api(file) if file.name.endswith("manifest.json") else by_tfjs(file)
    graph = read_detector_graph(file)
    if graph.anchors is None:  # a network of ours, whose boxes TensorFlow's formula gives
        graph = replace(graph, anchors=load_network(model).default_boxes.numpy())
    names: Names = default_names(graph.num_labels)[0]
    if labels is not None:
        names = read_label_map(labels, graph.num_labels)
    elif sum(name is not None for name in names) == len(class_names):  # named when it was imported
        given = iter(class_names)
        names = tuple(None if name is None else next(given) for name in names)
    return names, by_litert(file, graph) if file.suffix == ".tflite" else by_openvino(file)


def main() -> None:
    """Compare, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    detector = Detector.load(options.model)
    names, run = named_runtime(options.file, options.model, options.labels, detector.spec.class_names)
    paths = sorted(path for path in options.images.rglob("*.jpg"))
    pairs, entries = [], []
    step = 1 if options.json else max(1, len(paths) // options.count)
    for number, path in enumerate(paths[::step]):
        image = decode_image(path)
        theirs = as_detections(run(cv2.resize(image, detector.spec.input_size_hw[::-1])), image, names)
        height, width = image.shape[:2]
        entries.append({"file": path.name, "width": width, "height": height, "detections": theirs.to_dicts()})
        if number < options.count:
            confident = theirs.above(LEAST_SCORE)
            pairs += differences(confident, detector(image), (width, height))
    report(np.array(pairs).reshape(-1, 2), min(options.count, len(entries)))
    if options.json:
        options.json.write_text(json.dumps({"model": options.file.name, "images": entries}))


def as_detections(rows: tuple[np.ndarray, np.ndarray, np.ndarray], image: np.ndarray, names: Names) -> Detections:
    """The runtime's rows as detections in pixels; ids without a class are left out."""
    boxes, ids, scores = rows
    height, width = image.shape[:2]
    real = [place for place, number in enumerate(ids) if scores[place] > 0 and names[number] is not None]
    pixels = np.clip(boxes[real][:, [1, 0, 3, 2]], 0, 1) * np.array([width, height, width, height])
    kept = tuple(name for name in names if name is not None)
    labels = [kept.index(names[ids[place]]) for place in real]
    return Detections(pixels.astype(np.float32), scores[real].astype(np.float32), np.array(labels, np.int64), kept)


def report(pairs: np.ndarray, images: int) -> None:
    """How many detections agree, and by how much those that do not are apart."""
    close = (pairs[:, 0] <= 0.005) & (pairs[:, 1] <= 0.01)
    print(f"{len(pairs)} detections of the runtime above {LEAST_SCORE:g} on {images} images")
    print(f"{close.sum()} have one of ours of the same class with the box within 0.005 and the score within 0.01")
    if len(pairs):
        print(f"median difference: box {np.median(pairs[:, 0]):.2g}, score {np.median(pairs[:, 1]):.2g}")
        print(f"largest difference: box {pairs[:, 0].max():.2g}, score {pairs[:, 1].max():.2g}")


if __name__ == "__main__":
    main()
