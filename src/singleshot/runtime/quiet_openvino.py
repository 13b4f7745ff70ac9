"""OpenVINO without its usage reports: on import it would tell its makers over the network that it was imported.

Everything of OpenVINO is imported from here.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO then takes its own stub

import openvino  # noqa: E402
from openvino import opset8, preprocess  # noqa: E402

__all__ = ["openvino", "opset8", "preprocess"]
