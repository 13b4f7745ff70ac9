"""Check an installed wheel: it detects the cat with the model in it, by its compiled part, and without PyTorch.

    python scripts/check_wheel.py

It is run in an environment that holds the wheel and what pip installs for it: by tests/test_wheel.py, by `make release`
and by cibuildwheel.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path


def main() -> int:
    """Print where the package lies and what it detects; 1 where that is wrong."""
    if importlib.util.find_spec("torch"):
        print("this environment has torch: what was to be shown is that a wheel needs none")
        return 1
    importlib.import_module("singleshot.ssd._detection_output")  # optional: without a compiler a wheel lacks it
    import singleshot
    from singleshot.photographs import CHELSEA

    detections = singleshot.Detector.load()(CHELSEA.path).above(0.5)
    print(f"{Path(singleshot.__file__).parent}: {', '.join(detections.names) or 'nothing'}")
    return int(list(detections.names) != ["cat"])


if __name__ == "__main__":
    sys.exit(main())
