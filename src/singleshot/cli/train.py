"""`ssd train`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from singleshot.train.options import ASK, TrainOptions


def train(
    *data: str,
    options: Annotated[TrainOptions, Parameter(name="*")] = TrainOptions(),  # noqa: B008
    plan: Annotated[bool, Parameter(group=ASK, negative=())] = False,
    settings: Annotated[bool, Parameter(group=ASK, negative=())] = False,
) -> int:
    """Train a detector on labelled images.

    Args:
        data: one or more data sets, joined: a VOC, COCO, ILSVRC or YOLO folder, a COCO JSON file, a YOLO data.yaml, or
            a CSV table (docs/data.md).
        plan: tell every decision, and how long the run will take on this machine by the time of a few steps.
        settings: list what --set takes, with meaning and default.
    """
    from singleshot.console import results

    if settings:
        from singleshot.train.setting_docs import terminal_lines

        results().print("\n".join(terminal_lines()))
        return 0
    from singleshot.commands.train import plan_of, train_command

    if plan:
        results().print("\n".join(plan_of(data, options)))
        return 0
    return train_command(data, options)
