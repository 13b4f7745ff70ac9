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
from singleshot.evaluate.compare import ResampledEvaluation
from singleshot.files import parse_json, read_regular, write_json
from singleshot.lab.reproduce.budget import Budget
from singleshot.lab.reproduce.datasets import Datasets, DataSplit, MissingDataError
from singleshot.lab.reproduce.kept_matches import read_matches, write_matches
from singleshot.lab.reproduce.options import ReproduceOptions
from singleshot.lab.reproduce.paper import Schedule, TableRow
from singleshot.lab.reproduce.pruned import pruned_detector
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.train.initial import NO
from singleshot.train.options import TrainOptions
from singleshot.train.results import is_finished
from singleshot.train.resume_check import MOST_SHOWN, completed, differences
from singleshot.train.signals import Stopped
from singleshot.weights.build import load_network, save_network
from singleshot.weights.classes import cut
from singleshot.weights.folder import read_folder

RECORD, FIGURES, MATCHES = "row.json", "judged.json", "matches.safetensors"
PRUNED_FIGURES, PRUNED_MATCHES = "judged-pruned.json", "matches-pruned.safetensors"
LARGEST = 2**22  # bytes of the JSON files


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What came out of one evaluation.

    Attributes:
        figures: see `Evaluation.to_json`.
        matches: from which the mAP of any resampling of the images is computed.
    """

    figures: dict[str, Any]
    matches: ResampledEvaluation


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
        return self.options.out / "runs" / f"{row.model_of or row.key}-seed{seed}"

    def cost(self, row: TableRow, schedule: Schedule) -> dict[str, Any]:
        """Network, recipe and length as a schedule of the row is trained under the budget, as plain values."""
        return {
            "model": _without_classes(asdict(self.budget.network(row))),
            "recipe": asdict(self.budget.recipe(row, schedule)),
            "epochs": self.budget.epochs,
            "updates": self.budget.steps(row, schedule),
        }

    def whole_cost(self, row: TableRow) -> dict[str, Any]:
        """The row's cost, and that of what it learns before."""
        before = None if row.before is None else self.cost(row, row.before)
        return self.cost(row, row.schedule) | {"before": before}

    def start(self, row: TableRow) -> str:
        """The weights that the row starts from, as `ssd train --init` takes them.

        Raises:
            MissingDataError: the row is about VGG-16, and there are weights of MobileNetV2 alone.
        """
        if not (self.budget.light and row.needs_vgg):
            return self.options.init or NO
        if self.options.init_vgg is None:
            raise MissingDataError("needs weights of a VGG-16: --init-vgg FILE")
        return self.options.init_vgg

    def is_evaluated(self, row: TableRow, seed: int) -> bool:
        """Whether this row is trained and evaluated.

        Raises:
            RequestError: the run's folder holds another run; what differs is named.
        """
        folder = self.folder(row, seed)
        if not is_finished(folder):
            return False
        self.train(row, seed)  # nothing is left to do but to see that it is the same run
        return all((folder / name).is_file() for name in _kept_files(row))

    def train(self, row: TableRow, seed: int) -> Path:
        """The row's trained model: made now, gone on with, or found there.

        Raises:
            RequestError: the run's folder holds another run; what differs is named.
        """
        init = self.start(row) if row.before is None else str(self._cut_from_coco(row, row.before, seed))
        return self._run(self.folder(row, seed), row, row.schedule, self.datasets.training_splits(row), init, seed)

    def _cut_from_coco(self, row: TableRow, before: Schedule, seed: int) -> Path:
        """The row's network, trained on COCO and cut to VOC's classes (the paper's fine-tuning starts so)."""
        folder = self.options.out / "runs" / f"{row.spec.name}-{before.steps}-seed{seed}"
        learnt = self._run(folder, row, before, (self.datasets.coco_training_split(),), self.start(row), seed)
        target = folder / "voc"
        if not target.is_dir():
            card = f"# {row.spec.name}\n\nTrained on COCO, cut to VOC's classes; default boxes kept.\n"
            coco = read_folder(learnt)
            save_network(target, cut(load_network(coco), ["voc"]), card=card, learnt=coco.learnt())
        return target

    def _run(
        self, folder: Path, row: TableRow, schedule: Schedule, learnt: Sequence[DataSplit], init: str, seed: int
    ) -> Path:
        network, recipe = self.budget.network(row), self.budget.recipe_before_settings(row, schedule)
        record = self.cost(row, schedule) | {"learnt": [split.place() for split in learnt], "init": init, "seed": seed}
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
            iterations=self.budget.steps(row, schedule),
            boxes="keep",
            overrides=schedule.settings,
            resume=True,
        )
        try:
            train_command(
                [source.path for source in learnt],
                options,
                base=network,
                recipe=recipe,
                quietly=self.budget.name != "full",
            )
        except Stopped as stop:
            raise Stopped(stop.number, stop.step, advice="the same command goes on from there") from stop
        return last

    def evaluate(self, model: Path, row: TableRow, *, memory: Path | None) -> Evaluated:
        """The model's figures by the row's protocol.

        Args:
            model: a model folder.
            row: says how, and on what.
            memory: folder that remembers the figures, so that a test split is read once; None remembers none.
        """
        source = self.datasets.evaluation_split(row)
        question = {"judged": source.place(), "protocol": row.protocol}
        names = _kept_files(row)
        if memory is not None and all((memory / name).is_file() for name in names):
            evaluated = _read(memory / names[0])
            if evaluated.get("question") == question:
                return Evaluated(_figures(evaluated, memory / names[0]), read_matches(memory / names[1], row.protocol))
        annotations = open_data(source.path, split=source.split)
        load = Detector.load if row.detects_boundary else pruned_detector
        detector = load(model, device=self.options.device)
        detections = detect_in_set(detector, annotations)
        figures = protocols.evaluate(annotations, detections, protocol=row.protocol).to_json()
        matches = ResampledEvaluation.of(annotations, detections, row.protocol)
        if memory is not None:
            write_matches(memory / names[1], matches)
            write_json(memory / names[0], {"question": question, "figures": figures})
        return Evaluated(figures, matches)


def _kept_files(row: TableRow) -> tuple[str, str]:
    """Names of the files that remember an evaluation of the row: figures, and matches."""
    return (FIGURES, MATCHES) if row.detects_boundary else (PRUNED_FIGURES, PRUNED_MATCHES)


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
