"""`ssd demo`."""

from __future__ import annotations

from pathlib import Path


def demo(*, out: Path = Path("demo-output")) -> int:
    """Detect in photographs, fine-tune on a data set that draws itself, and report before and after (some minutes).

    Args:
        out: folder for everything that is made.
    """
    from singleshot.lab.demo.run import run_demo

    print(run_demo(out))
    return 0
