"""Which split of which set a row learns and is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from singleshot.data.recognise import FORMATS, default_splits, recognise
from singleshot.data.voc import voc_splits
from singleshot.errors import RequestError
from singleshot.lab.reproduce.options import ReproduceOptions
from singleshot.lab.reproduce.paper import ALL_AND_TESTS, FIRST, TableRow

TRAINVAL = "trainval"


class MissingDataError(RequestError):
    """The given sets lack what a row needs; says what. Other rows may do without."""


@dataclass(frozen=True)
class DataSplit:
    """A split of a set."""

    path: str
    split: str

    def place(self) -> dict[str, str]:
        """The split, however its path was spelled."""
        return {"path": str(Path(self.path).resolve()), "split": self.split}

    def __str__(self) -> str:
        """For people."""
        return f"{Path(self.path).name} {self.split}"


@dataclass(frozen=True)
class Datasets:
    """The sets that the user named."""

    options: ReproduceOptions

    def training_splits(self, row: TableRow) -> tuple[DataSplit, ...]:
        """What the row learns; what it learns before that is `coco_learnt`.

        Raises:
            MissingDataError: another set or split is needed.
        """
        if row.on_coco:
            return (self.coco_training_split(),)
        if row.before is not None:
            self.coco_training_split()
        if not self.options.data:
            raise MissingDataError("needs a set behind --data")
        sets = self.options.data[:1] if row.schedule.sets == FIRST else self.options.data
        learnt = [DataSplit(path, self.options.train_split or _default_training_split(path)) for path in sets]
        if row.schedule.sets == ALL_AND_TESTS:
            learnt += [DataSplit(path, _default_evaluation_split(path)) for path in sets[:-1]]
        return tuple(learnt)

    def evaluation_split(self, row: TableRow) -> DataSplit:
        """What the row is evaluated on: the test of the first set, or of the last for 07++12.

        Raises:
            MissingDataError: there is nothing to evaluate on.
        """
        if not (row.on_coco or self.options.data):
            raise MissingDataError("needs a set behind --data")
        path = self._coco() if row.on_coco else self.options.data[-1 if row.schedule.sets == ALL_AND_TESTS else 0]
        return DataSplit(path, self.options.test_split or _default_evaluation_split(path))

    def coco_training_split(self) -> DataSplit:
        """COCO's training split.

        Raises:
            MissingDataError: no COCO set was given, or it has none.
        """
        return DataSplit(self._coco(), _default_training_split(self._coco()))

    def _coco(self) -> str:
        if self.options.coco is None:
            raise MissingDataError("needs a set in COCO's format: --coco DIR")
        return self.options.coco


def _default_training_split(path: str) -> str:
    if recognise(Path(path)) == "voc" and TRAINVAL in voc_splits(Path(path)):
        return TRAINVAL
    split = default_splits(path).train
    if split is None:
        raise _no_split(path, "train", "--train-split")
    return split


def _default_evaluation_split(path: str) -> str:
    own = default_splits(path)
    split = own.test or own.val
    if split is None:
        raise _no_split(path, "evaluate", "--test-split")
    return split


def _no_split(path: str, purpose: str, flag: str) -> MissingDataError:
    names = FORMATS[recognise(Path(path))].split_names(Path(path))
    if not names:
        return MissingDataError(
            f"{path} has no splits; a table needs one to train on and one to evaluate on, "
            "such as train and val (docs/data.md says how each format names them)"
        )
    return MissingDataError(f"{path} has no split to {purpose} on: name one of {', '.join(names)} with {flag}")
