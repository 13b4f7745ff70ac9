"""One row of a table, trained with one seed and evaluated; what was done before is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from singleshot.commands.train import train_command
from singleshot.data.recognise import open_data
from singleshot.errors import RequestError, first_of
from singleshot.evaluate import protocols
from singleshot.files import parse_json, read_regular, write_json
from singleshot.lab.reproduce.budget import Budget
from singleshot.lab.reproduce.datasets import Datasets, DataSplit
from singleshot.lab.reproduce.options import ReproduceOptions
from singleshot.lab.reproduce.paper import Schedule, TableRow
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.spec import ModelSpec
from singleshot.train.options import TrainOptions
from singleshot.train.results import is_finished
from singleshot.train.resume_check import MOST_SHOWN, completed, differences
from singleshot.train.signals import Stopped
from singleshot.weights.build import load_network, save_network
from singleshot.weights.classes import cut

RECORD, FIGURES = "row.json", "judged.json"
LARGEST = 2**22  # bytes of these


@dataclass(frozen=True)
class Runner:
    """Trains and evaluates rows.

    Attributes:
        options: what the user said.
        budget: what the rows are cut to.
    """

    options: ReproduceOptions
    budget: Budget

    @property
    def datasets(self) -> Datasets:
        """The sets."""
        return Datasets(self.options)

    def folder(self, row: TableRow, seed: int) -> Path:
        """The folder of this row's run."""
        return self.options.out / "runs" / f"{row.key}-seed{seed}"

    def cost(self, spec: ModelSpec, schedule: Schedule) -> dict[str, Any]:
        """Network, recipe and length as they are trained under the budget, as plain values."""
        return {
            "model": _without_classes(asdict(self.budget.network(spec))),
            "recipe": asdict(self.budget.recipe(schedule)),
            "epochs": self.budget.epochs,
            "updates": None if self.budget.epochs else schedule.steps,
        }

    def whole_cost(self, row: TableRow) -> dict[str, Any]:
        """The row's cost, and that of what it learns before."""
        before = None if row.before is None else self.cost(row.spec, row.before)
        return self.cost(row.spec, row.schedule) | {"before": before}

    def train(self, row: TableRow, seed: int) -> Path:
        """The row's trained model: made now, gone on with, or found there.

        Raises:
            RequestError: the run's folder holds another run; what differs is named.
        """
        init = self.options.init
        if row.before is not None:
            init = str(self._cut_from_coco(row, row.before, seed))
        return self._run(self.folder(row, seed), row.spec, row.schedule, self.datasets.training_splits(row), init, seed)

    def _cut_from_coco(self, row: TableRow, before: Schedule, seed: int) -> Path:
        """The row's network, trained on COCO and cut to VOC's classes (the paper's fine-tuning starts so)."""
        folder = self.options.out / "runs" / f"{row.spec.name}-{before.steps}-seed{seed}"
        learnt = self._run(folder, row.spec, before, (self.datasets.coco_training_split(),), self.options.init, seed)
        target = folder / "voc"
        if not target.is_dir():
            card = f"# {row.spec.name}\n\nTrained on COCO, cut to VOC's classes; default boxes kept.\n"
            save_network(target, cut(load_network(learnt), ["voc"]), card=card)
        return target

    def _run(
        self, folder: Path, spec: ModelSpec, schedule: Schedule, learnt: Sequence[DataSplit], init: str, seed: int
    ) -> Path:
        network, recipe = self.budget.network(spec), self.budget.recipe_before_settings(schedule)
        record = self.cost(spec, schedule) | {"learnt": [split.place() for split in learnt], "init": init, "seed": seed}
        _require_same_run(folder, record)
        last = folder / "last"
        if is_finished(folder):
            return last
        options = TrainOptions(
            out=folder,
            seed=seed,
            train_split=",".join(source.split for source in learnt),
            val_split="none",
            init=init,
            device=self.options.device,
            workers=self.options.workers,
            threads=self.options.threads,
            epochs=self.budget.epochs,
            iterations=None if self.budget.epochs else schedule.steps,
            boxes="keep",
            overrides=schedule.settings,
            resume=True,
        )
        try:
            train_command(
                [source.path for source in learnt], options, base=network, recipe=recipe, quietly=self.budget.quick
            )
        except Stopped as stop:
            raise Stopped(stop.number, stop.step, advice="the same command goes on from there") from stop
        return last

    def evaluate(self, model: Path, row: TableRow, *, memory: Path | None) -> dict[str, Any]:
        """The model's figures by the row's protocol, see `Evaluation.to_json`.

        Args:
            model: a model folder.
            row: says how, and on what.
            memory: folder that remembers the figures, so that a test split is read once; None remembers none.
        """
        source = self.datasets.evaluation_split(row)
        question = {"judged": source.place(), "protocol": row.protocol}
        record = None if memory is None else memory / FIGURES
        if record is not None and record.is_file():
            evaluated = _read(record)
            if evaluated.get("question") == question:
                return _figures(evaluated, record)
        annotations = open_data(source.path, split=source.split)
        detections = detect_in_set(Detector.load(str(model), device=self.options.device), annotations)
        figures = protocols.evaluate(annotations, detections, protocol=row.protocol).to_json()
        if record is not None:
            write_json(record, {"question": question, "figures": figures})
        return figures


def _require_same_run(folder: Path, wanted: dict[str, Any]) -> None:
    """Write down what a folder's run is, or refuse one that holds another.

    Raises:
        RequestError: what differs is named.
    """
    record = folder / RECORD
    if not record.is_file():
        write_json(record, wanted)
        return
    begun = completed(_read(record))
    if isinstance(begun.get("model"), dict):
        begun["model"] = _without_classes(begun["model"])
    differing = differences(begun, wanted)
    if differing:
        raise RequestError(
            f"{folder} holds another run: {first_of(differing, MOST_SHOWN, joint='; ')}: give another --out"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_regular(path, LARGEST))
    except ValueError as error:
        raise RequestError(f"{path}: {error}; remove it, or give another --out") from None
    if not isinstance(content, dict):
        raise RequestError(f"{path} is none of ours: give another --out")
    return content


def _without_classes(model: dict[str, Any]) -> dict[str, Any]:
    """A specification whose class names follow the data."""
    return {name: value for name, value in model.items() if name != "class_names"}


def _figures(evaluated: dict[str, Any], path: Path) -> dict[str, Any]:
    """The figures of an earlier evaluation.

    Raises:
        RequestError: they are none.
    """
    figures = evaluated.get("figures")
    if isinstance(figures, dict) and isinstance(figures.get("per_class"), dict):
        numbers = [*figures["per_class"].values(), figures.get("mAP")]
        if all(number is None or (isinstance(number, int | float) and 0 <= number <= 1) for number in numbers):
            return figures
    raise RequestError(f"{path} holds no figures: remove it, and the model is evaluated again")
