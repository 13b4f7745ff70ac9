"""`ssd serve` with a service that keeps every image in memory: the drill `leak` must see it."""

from __future__ import annotations

import sys
from typing import Any

from singleshot.cli.main import main
from singleshot.serve.service import DetectionService

KEPT: list[bytes] = []
detect = DetectionService.detect


async def keep_and_detect(self: DetectionService, images: Any, **options: Any) -> Any:
    """Detect as ever, and keep ten copies."""
    KEPT.extend(10 * image for image in images)
    return await detect(self, images, **options)


if __name__ == "__main__":
    DetectionService.detect = keep_and_detect  # type: ignore[method-assign]
    sys.argv.insert(1, "serve")
    sys.exit(main())
