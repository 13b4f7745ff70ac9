"""Frames a second and memory of the page of `ssd serve`, in headless Chromium: `python benchmarks/page.py`.

The camera is Chromium's own fake one. Memory is the resident memory of the browser's renderer processes, read from
/proc (Linux). The large images are one photograph of the package, enlarged to 4000x3000. Needs Playwright (extra dev)
and Chromium or Chrome.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from singleshot.photographs import ROCKET

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
LARGE = (4000, 3000)
MEGABYTE = 1_000_000
PATIENCE = 600_000  # milliseconds


def main() -> int:
    """Serve the shipped model, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=60, help="of the camera")
    parser.add_argument("--images", type=int, default=60, help="large images that are opened at once")
    arguments = parser.parse_args()
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        print(f"none of {', '.join(BROWSERS)} is installed", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "singleshot", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as driver:  # noqa: S603  (our own)
        try:
            assert server.stdout is not None
            address = re.search(r"http://\S+/", server.stdout.readline())
            if address is None:
                return 2
            for measure, amount in ((camera, arguments.seconds), (large_images, arguments.images)):
                browser = driver.chromium.launch(executable_path=executable, args=FAKE_CAMERA)
                page = browser.new_page()
                page.goto(address[0])
                page.locator("#model strong").wait_for()
                measure(page, amount)
                browser.close()
        finally:
            server.terminate()
    return 0


def camera(page: Page, seconds: int) -> None:
    """Frames a second and memory, at four times."""
    page.click("#welcome [data-source=camera]")
    for quarter in range(1, 5):
        page.wait_for_timeout(1000 * seconds / 4)
        rate = page.locator("#live-text").text_content()
        print(f"camera, after {seconds * quarter / 4:g} s: {rate}, {memory():.0f} MB")
    page.click("#stop")
    print(f"camera: {page.locator('#live-text').text_content()}")


def large_images(page: Page, count: int) -> None:
    """Memory before, after a third, and after all images."""
    print(f"page alone: {memory():.0f} MB")
    with tempfile.TemporaryDirectory() as folder, Image.open(ROCKET.path) as photograph:
        paths = [Path(folder) / f"{number}.jpg" for number in range(count)]
        photograph.resize(LARGE).save(paths[0], quality=80)
        for path in paths[1:]:
            shutil.copy(paths[0], path)
        page.set_input_files("#choose-images", paths)
        for number in (count // 3, count):
            page.locator(f".tile:nth-child({number})[data-state=done]").wait_for(timeout=PATIENCE)
            print(f"{number} images of {LARGE[0]}x{LARGE[1]}: {memory():.0f} MB")


def memory() -> float:
    """Resident memory of the renderers that descend from this process, in MB."""
    parents, renderers = dict[int, int](), dict[int, float]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            process = int(folder.name)
            parents[process] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                renderers[process] = (
                    int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
                )
        except OSError:  # it has ended meanwhile
            continue
    return sum(size for process, size in renderers.items() if _descends(process, parents))


def _descends(process: int, parents: dict[int, int]) -> bool:
    while process in parents:
        process = parents[process]
        if process == os.getpid():
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
