"""OpenVINO without telemetry, and the process's only `Core`. Import OpenVINO from here only.

A `Core` gives the thread a signal stack of its own; when it is deleted it restores the stack that it replaced. Two that
are not deleted in reverse order leave the thread with an unmapped signal stack, and the next signal (Ctrl-C, the end of
a worker process) writes into memory that may belong to others. So one `Core` is made and never deleted.
"""

import sys
from functools import cache

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it then uses a stub and sends nothing

import openvino  # noqa: E402
from openvino import opset9  # noqa: E402

__all__ = ["core", "openvino", "opset9"]


@cache
def core() -> openvino.Core:
    """The one `Core` of this process."""
    return openvino.Core()
