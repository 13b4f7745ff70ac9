"""`ssd train`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from singleshot.train.options import ASK, TrainOptions


def train(
    *data: str,
    options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions(),  # noqa: B008
    settings: Annotated[bool, Parameter(group=ASK, negative=())] = False,
) -> int:
    """Train a detector on labelled images.

    Args:
        data: one or more data sets, joined: a VOC, COCO, ILSVRC or YOLO folder, a COCO JSON file, a YOLO data.yaml, or
            a CSV table (docs/data.md).
        settings: list what --set takes, with meaning and default.
    """
    if settings:
        from singleshot.console import results
        from singleshot.train.setting_docs import terminal_lines

        for line in terminal_lines():
            results().print(line)
        return 0
    from singleshot.commands.train import train_command

    return train_command(data, options)
