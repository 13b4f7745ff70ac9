"""`ssd explain`, behind the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from singleshot.data.recognise import open_data
from singleshot.data.sample import ground_truth_to_learn
from singleshot.decode import decode_image
from singleshot.errors import DataError, RequestError
from singleshot.explain.page import write_explanation
from singleshot.explain.trace import Explanation, explain, ground_truth_in_numbering
from singleshot.runtime.find_model import find_model
from singleshot.train.recipe import migrate_recipe
from singleshot.types import Annotations
from singleshot.weights.build import load_network


def explain_image(image: Path, *, model: str | None, data: str | None, score: float, page: Path) -> Explanation:
    """Explain one image and write the page.

    Args:
        image: its file.
        model: a model folder or the name of a shipped model; None is the shipped default.
        data: the labelled set that the image belongs to, if its objects are to be shown.
        score: detections from this score on.
        page: where to write.

    Raises:
        RequestError: an exported model, which has no weights to follow; the set does not hold the image.
        DataError: model and set have no class in common.
        ImageError: the image cannot be used.
    """
    if not 0 <= score <= 1:
        raise RequestError(f"--score is between 0 and 1, got {score:g}")
    folder = find_model(model)
    if not folder.weights_hash:
        raise RequestError(
            f"{folder.path} is an export: its weights cannot be followed; give the model folder it came from"
        )
    pixels = decode_image(image)
    network = load_network(folder)
    learnt: dict[str, Any] = {}
    if data is not None:
        annotations = open_data(data, headers=False)
        height, width = pixels.shape[:2]
        ground_truth = annotations.ground_truth(_index(annotations, image, data))
        boxes, labels, _ = ground_truth_to_learn(ground_truth, width=width, height=height)
        if not set(annotations.class_names) & set(network.spec.class_names):
            raise DataError(
                f"{model or folder.path.name} detects {', '.join(network.spec.class_names[:5])}; {data} has "
                f"{', '.join(annotations.class_names[:5])}: no class in common"
            )
        rows, numbers = ground_truth_in_numbering(labels, annotations.class_names, network.spec.class_names)
        learnt = {"ground_truth_xyxy": boxes[rows], "labels": numbers}
    recipe = folder.provenance.get("recipe", {})
    recipe = migrate_recipe(recipe) if isinstance(recipe, dict) else {}
    for argument, name in (("overlap_threshold", "iou_threshold"), ("negative_ratio", "negative_ratio")):
        if isinstance(recipe.get(name), float):
            learnt[argument] = recipe[name]
    found = explain(network, pixels, score=score, **learnt)
    write_explanation(page, f"{image.name} by {model or folder.path.name}", pixels, found)
    return found


def _index(annotations: Annotations, image: Path, data: str) -> int:
    """Which image of the set a file is: the same path, else the only one of its name."""
    there = image.resolve()
    named = [i for i, file in enumerate(annotations.files) if Path(file).name == image.name]
    exact = [i for i in named if annotations.path(i).resolve() == there]
    if len(exact or named) != 1:
        found = f"{len(named)} images of that name" if named else "no image of that name"
        raise RequestError(f"{data} has {found}: {image.name}")
    return (exact or named)[0]
