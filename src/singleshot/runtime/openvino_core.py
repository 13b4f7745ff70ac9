"""OpenVINO, tamed. Everything of OpenVINO is imported from here.

- On import it would tell its makers over the network that it was imported; not from here.
- Each `Core` gives the thread a signal stack of its own and, when it ends, puts back the one it found and unmaps its
  own. Two that do not end in the reverse order leave the thread with unmapped memory as its signal stack, and the next
  Ctrl-C, or the end of a loader's worker, writes into whatever lies there by then. So there is one, for ever.
"""

import sys
from functools import cache

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO then takes its own stub

import openvino  # noqa: E402
from openvino import opset9  # noqa: E402

__all__ = ["core", "openvino", "opset9"]


@cache
def core() -> openvino.Core:
    """The one `Core` of this process."""
    return openvino.Core()
