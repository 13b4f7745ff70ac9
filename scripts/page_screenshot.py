"""Photograph the page of `ssd serve` with the package's own photographs: `python scripts/page_screenshot.py`.

Writes `docs/images/page.png`. Needs Playwright (extra dev) and Chromium or Chrome.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from singleshot.photographs import ASTRONAUT, CAMERA, CHELSEA, ROCKET

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1040, "height": 690}
DROPPED_BITS = 2
"""Of each colour: nobody sees it, and the file is half as large."""


def main() -> int:
    """Serve the shipped model, open the page, photograph it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("docs/images/page.png"))
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    arguments = parser.parse_args()
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        print(f"none of {', '.join(BROWSERS)} is installed", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "singleshot", "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603  (our own server)
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+/", server.stdout.readline())
            if address is None:
                return 2
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=executable)
                page = browser.new_page(viewport=SIZE, color_scheme=arguments.scheme)
                page.goto(address[0])
                content = photograph(page)
                browser.close()
        finally:
            server.terminate()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image.convert("RGB"))
    coarse = pixels >> DROPPED_BITS << DROPPED_BITS | 1 << (DROPPED_BITS - 1)
    Image.fromarray(coarse.astype(np.uint8)).save(arguments.out, optimize=True)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    return 0


def photograph(page: Page) -> bytes:
    """The page with four photographs, the cat in front; a PNG."""
    page.locator("#model strong").wait_for()
    files = [photograph.path for photograph in (ASTRONAUT, CAMERA, CHELSEA, ROCKET)]
    page.set_input_files("#choose-images", files)
    page.locator(".tile:last-child[data-state=done]").wait_for()
    page.locator(".tile:nth-child(3)").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    return page.screenshot()


if __name__ == "__main__":
    sys.exit(main())
