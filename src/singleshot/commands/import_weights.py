"""`ssd weights import`: foreign files become a model folder, or a backbone to start a training from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save as format_tensors
from torch import Tensor

from singleshot.errors import ModelError, RequestError
from singleshot.files import not_there
from singleshot.graphs.import_detector import import_detector, is_tensorflow
from singleshot.models.ssd import SSD
from singleshot.models.vgg import FULL
from singleshot.spec import ModelSpec
from singleshot.variants import SSD300_VGG16, SSD300_VGG16_FULL, SSDLITE320_MOBILENETV2
from singleshot.weights.bounds import require_bounds
from singleshot.weights.build import fill, save_network
from singleshot.weights.classes import cut
from singleshot.weights.folder import CONFIG, Export, read_folder, save_export
from singleshot.weights.importers.caffe import read_base
from singleshot.weights.importers.classifiers import from_classifier, variant_of_classifier
from singleshot.weights.importers.detectors import detector_of_caffe, detector_of_state
from singleshot.weights.importers.tensorflow import read_mobilenetv2
from singleshot.weights.importers.torch_file import read_torch_file
from singleshot.weights.replace import replaced_folder, require_replaceable

BASE = "base.safetensors"


def import_files(
    files: Sequence[Path],
    out: Path,
    *,
    class_names: Sequence[str] | None = None,
    size_hw: tuple[int, int] | None = None,
    keep: Sequence[str] | None = None,
    whole: bool = False,
    labels: Path | None = None,
) -> str:
    """Read foreign weights and write them to the folder `out`; returns lines that say what it is and how to use it.

    A `.prototxt` with its `.caffemodel`, or a `.pth` of a project that `detectors` knows, is a whole detector and
    becomes a model folder; so is a graph of TensorFlow's: a `.tflite`, a frozen `.pb`, the folder of a SavedModel, a
    `model.json` of TensorFlow.js or a manifest of its weights.
    Another file alone is a backbone: a `.caffemodel` or `.pth` of a classifier (VGG-16, MobileNetV2,
    EfficientNet-Lite0), an `.npz` of MobileNetV2; it becomes `base.safetensors` for `ssd train --init`.

    Args:
        files: what to read.
        out: folder to write.
        class_names: of a detector, in its order; left out, those that their number suggests.
        size_hw: input size of a detector whose files do not say.
        keep: the classes to keep of a detector, the others are cut off; see `classes.cut`.
        whole: leave fc6 and fc7 of a VGG-16 classifier whole, for the backbone `vgg16-full`.
        labels: the label map of a graph of TensorFlow's, see `label_map.read_label_map`.

    Raises:
        RequestError: files of another kind or number; the folder cannot be written to, or holds a model that was not
            imported; nothing to cut.
        UnknownNameError: a class to keep that the detector does not have.
        ModelError: a file is damaged or holds another network; MachineError: the disk is full.
    """
    _require_no_other_model(out)
    if len(files) == 1 and is_tensorflow(files[0]):
        if whole:
            raise RequestError(f"{files[0].name} is no classifier of VGG-16, which --whole is for")
        return _import_graph(files[0], out, labels=labels, class_names=class_names, size_hw=size_hw, keep=keep)
    if labels is not None:
        raise RequestError(f"--labels is for graphs of TensorFlow's, not for {files[0].name if files else 'nothing'}")
    pair = _required_files(files)
    file, detector = files[0], None
    state: dict[str, Tensor] = {}
    if pair is not None:
        files = pair
        detector = detector_of_caffe(*pair, class_names, size_hw=size_hw)
    elif file.suffix in {".pth", ".pt"}:
        state = read_torch_file(file)
        detector = detector_of_state(state, class_names, size_hw=size_hw, origin=str(file))
    if detector is not None:
        if whole:
            raise RequestError(f"{files[-1].name} is a detector; --whole is for a VGG-16 classifier's fc6 and fc7")
        return _write_detector(*detector, files, out, keep)
    if class_names or keep or size_hw:
        raise RequestError(f"{file.name} is a classifier's backbone: it has neither classes nor a size to choose")
    return _write_backbone(file, state, out, whole=whole)


def _require_no_other_model(out: Path) -> None:
    """Refuse a place that holds a model of a training, or an export of one: an import replaces imports only.

    Raises:
        RequestError: it holds one, or a folder that is none of ours.
    """
    require_replaceable(out)
    if (out / CONFIG).is_file() and "imported_from" not in read_folder(out).provenance:
        raise RequestError(f"{out} holds a model, which the import would replace: give another --out")


def _import_graph(
    path: Path,
    out: Path,
    *,
    labels: Path | None,
    class_names: Sequence[str] | None,
    size_hw: tuple[int, int] | None,
    keep: Sequence[str] | None,
) -> str:
    """A detector of TensorFlow's, as a network of ours or as its own graph."""
    if not path.exists():
        raise RequestError(f"there is no file {not_there(path)}")
    detector = import_detector(path, labels=labels, class_names=class_names, size_hw=size_hw)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    files += detector.shards
    remarks = "".join(f"{remark}\n" for remark in detector.remarks)
    if detector.state is not None:
        return remarks + _write_detector("TensorFlow", detector.spec, detector.state, files, out, keep)
    assert detector.files is not None
    if keep is not None:
        raise RequestError(f"{path.name} stays its own graph, whose classes cannot be cut: leave --keep out")
    require_bounds(detector.spec, str(path))
    what, sums, listed = _described(detector.spec, detector.boxes, files)
    fixed = f"It cannot be trained, because it is no network of ours: {detector.not_trainable}"
    card = f"# {detector.spec.name}\n\nImported from TensorFlow: {what}. {fixed}.\n\n{listed}\n\nNot evaluated here.\n"
    provenance = {"imported_from": sums, "project": "TensorFlow", "not_trainable": detector.not_trainable}
    export = Export("openvino", "fp32", tuple(detector.files))
    save_export(out, detector.spec, detector.files, export=export, card=card, provenance=provenance)
    return f"{remarks}{fixed}\n{_imported(what, 'TensorFlow', out)}"


def _required_files(files: Sequence[Path]) -> tuple[Path, Path] | None:
    """Caffe's two files in their order, or None for one file of another kind.

    Raises:
        RequestError: another number of files, or one that is none.
    """
    by_suffix = {_suffix(file): file for file in files}
    is_pair = len(files) == 2 and by_suffix.keys() == {".prototxt", ".caffemodel"}
    if len(files) != 1 and not is_pair:
        names = ", ".join(file.name for file in files) or "nothing"
        raise RequestError(f"give a .prototxt with its .caffemodel, or one other file; got {names}")
    for file in files:
        if not file.exists():
            raise RequestError(f"there is no file {not_there(file)}")
        if not file.is_file():
            raise RequestError(f"{file} is no ordinary file")
    return (by_suffix[".prototxt"], by_suffix[".caffemodel"]) if is_pair else None


def _suffix(file: Path) -> str:
    """The suffix that says what a file is; OpenCV's description is often called `deploy.prototxt.txt`."""
    return ".prototxt" if file.name.endswith(".prototxt.txt") else file.suffix


def _write_backbone(file: Path, state: Mapping[str, Tensor], out: Path, *, whole: bool) -> str:
    """`base.safetensors` in its folder; returns how to use it."""
    variant, backbone = _read_backbone(file, state, whole=whole)
    fc6 = backbone.get("backbone.fc6.convolution.weight")
    if whole and (fc6 is None or fc6.shape[-1] != FULL.kernel):
        raise RequestError(f"{file.name} has no fc6 of 7x7; --whole is for a VGG-16 classifier's fc6 and fc7")
    content = format_tensors({name: tensor.contiguous() for name, tensor in backbone.items()})
    with replaced_folder(out) as beside:
        (beside / BASE).write_bytes(content)
        (beside / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  {BASE}\n")
    return (
        f"{len(backbone)} tensors of a backbone from {file}; use them by: ssd train DATA --model {variant.name} --init "
        f"{out / BASE}"
    )


def _write_detector(
    project: str,
    spec: ModelSpec,
    state: Mapping[str, Tensor],
    files: Sequence[Path],
    out: Path,
    keep: Sequence[str] | None,
) -> str:
    require_bounds(spec, str(files[0]))
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise ModelError(f"{files[-1]}: {name} would hold values that are not finite")
    model = SSD(spec)
    fill(model, state, origin=str(files[-1]))
    if keep is not None:
        model = cut(model, keep)
    what, sums, listed = _described(model.spec, len(model.default_boxes), files)
    card = f"# {model.spec.name}\n\nImported from {project}: {what}.\n\n{listed}\n\nNot evaluated here.\n"
    save_network(out, model, card=card, provenance={"imported_from": sums, "project": project})
    return _imported(what, project, out)


def _described(spec: ModelSpec, boxes: int, files: Sequence[Path]) -> tuple[str, dict[str, str], str]:
    """What a detector is in words, the hash of each file it comes from, and these as a list of the card."""
    height, width = spec.input_size_hw
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    sums = dict(zip(_distinct_names(files), digests, strict=True))
    what = f"{spec.name}, {width}x{height} input, {_classes(spec.class_names)}, {boxes} boxes"
    return what, sums, "\n".join(f"- `{name}`, SHA-256 `{digest}`" for name, digest in sums.items())


def _distinct_names(files: Sequence[Path]) -> list[str]:
    """The files' names; their paths below the folder that holds them all, where two share a name."""
    names = [file.name for file in files]
    if len(set(names)) == len(names):
        return names
    above = Path(os.path.commonpath([file.parent for file in files]))
    return [file.relative_to(above).as_posix() for file in files]


def _imported(what: str, project: str, out: Path) -> str:
    return f"{what}; from {project}, imported to {out}; try it by: ssd detect IMAGE --model {out}"


def _classes(names: Sequence[str]) -> str:
    """How many, and the first of them, so that a wrong guess is seen."""
    shown = ", ".join(names[:3])
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({shown}{', ...' if len(names) > 3 else ''})"


def _read_backbone(file: Path, state: Mapping[str, Tensor], *, whole: bool) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The backbone's tensors, and the named model that stands on it."""
    if file.suffix == ".caffemodel":
        return SSD300_VGG16_FULL if whole else SSD300_VGG16, read_base(file, whole=whole)
    if file.suffix == ".npz":
        return SSDLITE320_MOBILENETV2, read_mobilenetv2(file)
    if file.suffix in {".pth", ".pt"}:
        variant = variant_of_classifier(state, whole=whole)
        return variant, from_classifier(state, variant.preprocess, whole=whole, origin=str(file))
    raise RequestError(
        f"{file} is of a kind that is not read: .caffemodel, .npz, .pth and .pt are, and .tflite, .pb, SavedModel "
        "and .json of TensorFlow.js"
    )
