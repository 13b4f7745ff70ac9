"""Put a trained model into the package: only classes with enough training objects, its engines' graphs, an honest card.

python scripts/ship_model.py runs/voc2007/last --name ssd320-lite --data ../shared/data/voc2007 --test-split test \
    --calibrate DATA/voc2007_full --ancestry "It started from ... (Apache-2.0)."
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from singleshot.commands.evaluate import detect_known
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.console import remarks, results
from singleshot.data.recognise import open_data
from singleshot.evaluate.protocols import Evaluation, evaluate
from singleshot.runtime.backends import load_engine
from singleshot.runtime.detector import Detector
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.train.recipe import migrate_recipe
from singleshot.types import Annotations
from singleshot.weights.build import load_network, save_network
from singleshot.weights.classes import keep_classes
from singleshot.weights.folder import CARD, read_folder, save_export

LEAST_OBJECTS = 100
LARGEST = 18_000_000  # bytes
WARNING = "The model was trained on these images; its own card has the figures of the test split."
ENGINE_PRECISIONS = ("int8", "bf16")
SHIPPED = Path(__file__).resolve().parents[1] / "src/singleshot/shipped"


def main() -> None:
    """Cut, store, evaluate the stored model once on the test split, write its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", required=True, help="set to test on")
    parser.add_argument("--test-split", required=True)
    parser.add_argument("--calibrate", required=True, help="set that int8 is calibrated on")
    parser.add_argument("--ancestry", required=True, help="whose weights it started from, and their licence")
    parser.add_argument("--note", action="append", default=[], help="a line for the card, on its training")
    parser.add_argument("--limit", action="append", default=[], help="a line for the card, on what it cannot do")
    given = parser.parse_args()
    trained = read_folder(given.model)
    counts = trained.provenance["objects"]
    names = [name for name, count in counts.items() if count >= LEAST_OBJECTS]
    network = keep_classes(load_network(trained), names)
    network.spec = replace(network.spec, name=given.name)
    folder = SHIPPED / given.name
    provenance = {**trained.provenance, "data": [Path(path).name for path in trained.provenance["data"]]}
    learnt = trained.learnt()
    save_network(folder, network, card="", provenance=provenance, learnt=learnt, half=True)
    test_set = open_data(given.data, split=given.test_split)
    backends = {"torch, fp32": TorchBackend(load_network(folder), torch.device("cpu"))}
    for precision in ENGINE_PRECISIONS:
        engine = folder / f"openvino-{precision}"
        export_model(ExportOptions(out=engine, model=str(folder), precision=precision, calibrate=given.calibrate))
        warn_of_training_images(engine)
        backends[f"OpenVINO, {precision}"] = load_engine(engine)
    figures = {
        name: evaluate(test_set, detect_known(Detector(backend, name=name), test_set, on_note=remarks().print))
        for name, backend in backends.items()
    }
    notes = [*training(provenance), *given.note]
    known = {name: counts[name] for name in names}
    text = card(given.name, figures, known, test_set, notes=notes, limits=given.limit, ancestry=given.ancestry)
    save_network(folder, network, card=text, provenance=provenance, learnt=learnt, half=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        raise SystemExit(f"{folder} takes {size} bytes, more than {LARGEST}")
    results().print(text + f"\n{size} bytes in {folder}")


def training(provenance: Mapping[str, Any]) -> list[str]:
    """What the weights learnt from, in lines for the card."""
    recipe = migrate_recipe(provenance["recipe"])
    epochs = provenance["updates"] * recipe["batch_size"] / provenance["pictures"]
    sets = ", ".join(dict.fromkeys(Path(path).name for path in provenance["data"]))
    others = (
        "Objects of other classes were background."
        if provenance["classes"]
        else f"Only classes with at least {LEAST_OBJECTS} training objects are kept; it was trained on all."
    )
    return [
        f"Data: {provenance['pictures']} images with {sum(provenance['objects'].values())} objects of {sets} "
        f"(splits: {provenance['train_split']}). {others}",
        f"Recipe: losses and augmentation of `{recipe['name']}`, {epochs:.3g} epochs, batch {recipe['batch_size']}, "
        f"learning rate {recipe['learning_rate']:g} (backbone {recipe['backbone_lr_factor']:g} of it), "
        f"{recipe['schedule']}, "
        f"gradients clipped to {recipe['grad_clip_norm']:g}, {provenance['precision']}, seed {provenance['seed']}.",
    ]


def warn_of_training_images(engine: Path) -> None:
    """Say in an engine's card that the mAP beside it is of images that the model was trained on."""
    folder = read_folder(engine)
    text = (engine / CARD).read_text(encoding="utf-8").replace(f" {WARNING}", "")
    line = next(line for line in text.splitlines() if line.startswith("Against its source: "))
    assert folder.export is not None
    save_export(
        engine,
        folder.spec,
        folder.engine_files(),
        export=folder.export,
        card=text.replace(line, f"{line} {WARNING}"),
        provenance=folder.provenance,
        learnt=folder.learnt(),
    )


def card(
    name: str,
    by_engine: Mapping[str, Evaluation],
    counts: dict[str, int],
    test_set: Annotations,
    *,
    notes: Sequence[str],
    limits: Sequence[str],
    ancestry: str,
) -> str:
    """The model card; the first engine's figures come class by class."""
    figures, *_ = by_engine.values()
    rows = [
        f"| {label} | {count} | {figures.counts[label].ground_truth} | {in_words(figures.per_class[label])} |"
        for label, count in counts.items()
    ]
    lines = [
        f"# {name}",
        "",
        f"Finds {', '.join(counts)} in photographs. A small model for trying things out and for starting your own "
        "training from; its training set is small, and so is its knowledge.",
        "",
        "## Figures",
        "",
        f"VOC07 average precision on {len(test_set)} test images (none of them was trained on or used for any "
        "choice; the stored half-precision weights were evaluated, once an engine).",
        "",
        "| class | training objects | test objects | AP |",
        "|---|---|---|---|",
        *rows,
        f"| **mean** | | | **{mean(figures, counts):.3f}** |",
        "",
        "The mean by engine; `ssd detect` takes the int8 graph, `--device` of an accelerator takes torch:",
        "",
        "| engine | mean |",
        "|---|---|",
        *(f"| {engine} | {mean(result, counts):.3f} |" for engine, result in by_engine.items()),
        "",
        "## Training",
        "",
        *(f"- {note}" for note in notes),
        "",
        "## Limits",
        "",
        "- Photographs of everyday scenes as on Flickr in 2007. Not for safety, surveillance or decisions on people.",
        "- Small and crowded people are mostly missed; see the AP of `person`.",
        "- Scores are not calibrated probabilities.",
        "- It may take what it does not know for one of its classes, and be sure of it.",
        *(f"- {limit}" for limit in limits),
        "",
        f"{ancestry} These weights: Apache-2.0.",
    ]
    return "\n".join(lines) + "\n"


def in_words(ap: float | None) -> str:
    """Three digits, or that there is no figure."""
    return "none in the test images" if ap is None else f"{ap:.3f}"


def mean(figures: Evaluation, names: Iterable[str]) -> float:
    """Over the classes that the model knows and the test images hold."""
    aps = [ap for name in names if (ap := figures.per_class[name]) is not None]
    return sum(aps) / len(aps)


if __name__ == "__main__":
    main()
