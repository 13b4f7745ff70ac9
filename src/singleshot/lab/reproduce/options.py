"""What a user may say about a table's rows and trainings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from singleshot.errors import RequestError

MANY = Parameter(consume_multiple=True, negative=(), show_default=False)


@dataclass(frozen=True)
class ReproduceOptions:
    """Of `ssd reproduce`.

    Attributes:
        data: the sets to train and evaluate on: VOC2007, VOC2012; or any of your own.
        coco: a set in COCO's format, for rows that learn it.
        rows: only these, by key, separated by commas; `--plan` lists them.
        settings: `NAME=VALUE`, repeatable: every row is trained a second time with these settings of its recipe, an
            ablation of your own; `ssd train --settings` lists them.
        budget: `full`: the paper's network and steps; `light`, tables 2 and 3: a pretrained MobileNetV2 (--init) with
            input 192, some hours of two cores; `small`: an eighth of the trunk's width, 12 epochs from nothing. Left
            out, full where there is a GPU, else small.
        width: of the trunk, instead of the budget's.
        epochs: instead of the budget's.
        seeds: of the trainings, separated by commas; from two on there are intervals.
        given: `ROW=FOLDER`: evaluate this model instead of training one.
        init: weights of a classifier to start from, as `ssd train --init`: of VGG-16, for `light` of MobileNetV2;
            `none` for fresh ones, as where it is left out.
        init_vgg: weights of VGG-16 for those rows of `light` that are about it.
        train_split: instead of trainval, or of the set's own training split.
        test_split: instead of test, or of the set's own validation split where it has no test.
        rounds: how often each row is timed; 0 for never.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that prepare images; left out: the cores less one.
        threads: of torch on the CPU, of each training; left out: all cores.
        jobs: trainings at once; without --threads they share the cores.
        out: folder of the runs and pages; a table that was cut short goes on there.
    """

    data: Annotated[tuple[str, ...], MANY] = ()
    coco: str | None = None
    rows: Annotated[str | None, Parameter(show_default=False)] = None
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative=(), show_default=False)] = ()
    budget: str | None = None
    width: float | None = None
    epochs: float | None = None
    seeds: str = "0"
    given: Annotated[tuple[str, ...], MANY] = ()
    init: str | None = None
    init_vgg: str | None = None
    train_split: str | None = None
    test_split: str | None = None
    rounds: int = 9
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int | None = None
    threads: int | None = None
    jobs: int = 1
    out: Path = Path("runs/reproduce")

    @property
    def has_data(self) -> bool:
        """Whether a set was given."""
        return bool(self.data) or self.coco is not None

    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds: of `0,1,2` those three.

        Raises:
            RequestError: no whole numbers, or one twice.
        """
        parts = [part.strip() for part in self.seeds.split(",")]
        if not all(part.isdecimal() and len(part) < 19 for part in parts) or len(set(parts)) < len(parts):
            raise RequestError(f"--seeds takes different whole numbers below 10^18, such as 0,1,2, got {self.seeds!r}")
        return tuple(int(part) for part in parts)

    def given_models(self) -> dict[str, str]:
        """Folders of models by the rows' keys.

        Raises:
            RequestError: no assignment.
        """
        models = {}
        for assignment in self.given:
            key, sign, folder = assignment.partition("=")
            if not sign or not folder:
                raise RequestError(f"--given takes ROW=FOLDER, got {assignment!r}")
            models[key.strip()] = str(Path(folder.strip()))
        return models
