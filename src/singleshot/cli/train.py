"""`ssd train`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from singleshot.train.options import TrainOptions


def train(*data: str, options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions()) -> int:  # noqa: B008
    """Train a detector on labelled images.

    Args:
        data: one or more data sets (VOC, COCO, YOLO or CSV); several are joined.
    """
    from singleshot.commands.train import train_command

    return train_command(data, options)
