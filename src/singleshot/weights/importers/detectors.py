"""Which project a foreign detector comes from, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from singleshot.errors import ModelError, RequestError
from singleshot.spec import ModelSpec
from singleshot.weights.importers import caffe_face, ports_mobilenet, ports_vgg, ultra_light, ultra_light_caffe
from singleshot.weights.importers.caffe import from_description
from singleshot.weights.importers.caffe_graph import Graph
from singleshot.weights.importers.caffe_proto import read_caffemodel, read_prototxt
from singleshot.weights.importers.caffe_spec import input_size


def detector_of_state(
    state: Mapping[str, Tensor],
    class_names: Sequence[str] | None,
    *,
    size_hw: tuple[int, int] | None = None,
    origin: str,
) -> tuple[str, ModelSpec, dict[str, Tensor]] | None:
    """The project's name, the specification and the tensors of a detector saved by torch; None where it is none.

    Args:
        state: names and tensors of the file.
        class_names: L names; None takes those that their number suggests.
        size_hw: height and width of the input, where the project offers several and the file does not say.
        origin: file, for messages.

    Raises:
        ModelError: the file is of a project that is known, but a layer is missing or left over, or its base is none
            that is read.
        RequestError: a size for a network that has but one.
    """
    layout = ports_vgg.layout_of(state)
    lite, light = ports_mobilenet.is_torchvision_lite(state), ports_mobilenet.is_qfgaohao(state)
    if size_hw is not None and (layout is not None or lite or light):
        raise RequestError(f"{origin} is of a network whose input has one size: leave --size out")
    if layout is not None:
        return layout.name, *ports_vgg.read(state, layout, class_names, origin=origin)
    if lite:
        return "torchvision", *ports_mobilenet.read_torchvision_lite(state, class_names, origin=origin)
    if light:
        return "qfgaohao/pytorch-ssd", *ports_mobilenet.read_qfgaohao(state, class_names, origin=origin)
    if ultra_light.is_ultra_light(state):
        return "Ultra-Light-Face", *ultra_light.read(state, class_names, size_hw=size_hw, origin=origin)
    if any(name.startswith("box_head.predictor.") for name in state):
        base = next((name for name in state if name.startswith("backbone.") and ".extras." not in name), "nothing")
        raise ModelError(
            f"{origin} is a detector of lufficc/SSD whose base begins with {base}; of that project, SSD300 and SSD512 "
            "on VGG-16 are read"
        )
    return None


def detector_of_caffe(
    prototxt: Path,
    caffemodel: Path,
    class_names: Sequence[str] | None,
    *,
    size_hw: tuple[int, int] | None = None,
) -> tuple[str, ModelSpec, dict[str, Tensor]]:
    """The same of a description and its weights.

    Raises:
        ModelError: a file is damaged or of another kind; see `caffe.from_description`.
    """
    blobs = {name: layer.blobs for name, layer in read_caffemodel(caffemodel).items()}
    graph = Graph(read_prototxt(prototxt), str(prototxt))
    origin = str(caffemodel)
    if ultra_light_caffe.is_ultra_light(graph):
        size_hw = input_size(graph, size_hw)
        return "Ultra-Light-Face (Caffe)", *ultra_light_caffe.from_caffe(
            graph, blobs, class_names, size_hw=size_hw, origin=origin
        )
    if caffe_face.is_face_detector(graph):
        return "OpenCV's face detector", *caffe_face.from_caffe(
            graph, blobs, class_names, size_hw=size_hw, origin=origin
        )
    return "Caffe", *from_description(prototxt, blobs, class_names=class_names, size_hw=size_hw, origin=origin)
