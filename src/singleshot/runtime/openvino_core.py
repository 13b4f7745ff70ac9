"""OpenVINO without telemetry, and the process's only `Core`. Import OpenVINO from here only.

A `Core` gives the thread a signal stack of its own; when it is deleted it restores the stack that it replaced. Two that
are not deleted in reverse order leave the thread with an unmapped signal stack, and the next signal (Ctrl-C, the end of
a worker process) writes into memory that may belong to others. So one `Core` is made and never deleted.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from singleshot.errors import MachineError

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it then uses a stub and sends nothing

import openvino  # noqa: E402
from openvino import opset9  # noqa: E402

__all__ = ["core", "openvino", "opset9"]


CORE_LISTS = (Path("/sys/devices/system/cpu/online"), Path("/proc/cpuinfo"))
"""Where OpenVINO reads on Linux how many cores there are."""


@cache
def core() -> openvino.Core:
    """The one `Core` of this process.

    Raises:
        MachineError: see `require_core_list`.
    """
    if sys.platform == "linux":
        require_core_list(CORE_LISTS)
    return openvino.Core()


def require_core_list(files: Sequence[Path]) -> None:
    """Refuse a machine without any of these files: OpenVINO 2026.4 then compiles for ever, on all of a core.

    Raises:
        MachineError: none is there, as in a bare chroot.
    """
    if not any(file.exists() for file in files):
        raise MachineError(
            f"OpenVINO cannot count the processor's cores without {' or '.join(map(str, files))}: mount /proc and /sys "
            "here, as containers do"
        )
