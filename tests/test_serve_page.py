"""The page of `ssd serve`, in a browser: a real server, headless Chromium, and what a person does."""

from __future__ import annotations

import base64
import functools
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from singleshot import Detector
from singleshot.draw import class_colour
from singleshot.photographs import ASTRONAUT, CAMERA, CHELSEA, ROCKET
from singleshot.serve.app import PAGE

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")
playwright.expect.set_options(timeout=30_000)  # milliseconds, on a machine that is busy with others
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium or Chrome, and there is none on this machine"
)
REBOUND = "rebound.test"
"""A name that its owner makes point to this machine, as in DNS rebinding."""
FLAGS = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
]
MODEL = "ssdlite320-mobilenetv2"
"""Of five classes, which see one person each in the photographs."""
MARKUP = "<img src=x onerror=window.wasRun=1>"
TEXT_FILE = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "singleshot",
        "serve",
        "--model",
        MODEL,
        "--port",
        "0",
        "--decoders",
        "1",
        "--max-body-mb",
        "0.5",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found is not None
        yield found[0]
        process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The address of another server on this machine, whose page is empty."""
    (tmp_path / "index.html").write_text("<p>")
    handler = type("Handler", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def refused(address: str) -> float:
    """How many requests to detect the server has answered with 403."""
    lines = httpx.get(f"{address}metrics").text.splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if "requests_total" in line and "/v1/detect" in line and "403" in line
    )


class Visit:
    """A page in a context of its own, and what it asked for and complained of."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 760}, **options})
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._on_console)

    def _on_console(self, message: Any) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)  # breaches of the content security policy are among these

    def open(self) -> Any:
        self.page.goto(self.address)
        self.page.locator("#model strong").wait_for()
        return self.page

    @property
    def detect_requests(self) -> int:
        return sum("/v1/detect" in url for url in self.requests)

    def answer_with(self, path: str, content: Any) -> None:
        self.page.route(f"**/{path}*", lambda route: route.fulfill(json=content))

    def rows(self) -> list[str]:
        return [row.strip() for row in self.page.locator("#detections .name").all_text_contents()]

    def set_score(self, score: float) -> None:
        self.page.locator("#score").fill(str(score))


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert visit.faults == []
    assert all(url.startswith((address, "blob:")) for url in visit.requests), visit.requests


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(MODEL)


def transfer(page: Any, *files: tuple[str, str, bytes]) -> Any:
    """A DataTransfer of files (name, type, content) in the page."""
    encoded = [[name, kind, base64.b64encode(content).decode()] for name, kind, content in files]
    return page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, type, content] of files)
                transfer.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name, {type}));
            return transfer;
        }""",
        encoded,
    )


def drop(page: Any, *files: tuple[str, str, bytes]) -> None:
    data = {"dataTransfer": transfer(page, *files)}
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("body", event, data)


def paste(page: Any, data: Any) -> None:
    page.evaluate(
        "data => document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))", data
    )


def test_the_page_names_no_other_origin_and_no_way_to_run_text() -> None:
    for path in PAGE.iterdir():
        content = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?://|//cdn|@import|innerHTML|outerHTML|insertAdjacent|eval\(|new Function", content
        ), path
    page = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", page)


@needs_browser
def test_a_dropped_image_is_detected_listed_drawn_and_copied(visit: Visit, detector: Detector) -> None:
    expected = detector(CAMERA.path).above(0.5)
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.open()
    drop(page, ("a man's camera.jpg", "image/jpeg", CAMERA.path.read_bytes()))
    playwright.expect(page.locator("#summary")).to_have_text("person")
    assert visit.rows() == list(expected.names)
    assert page.locator("#detections .value").all_text_contents() == [f"{score:.2f}" for score in expected.scores]
    playwright.expect(page.locator("#canvas")).to_have_attribute("aria-label", re.compile("camera.jpg: person"))
    playwright.expect(page.locator("#timing-text")).to_have_text(re.compile(r"^[\d.]+ ms.*decode [\d.]+.*infer [\d.]+"))

    colours = page.evaluate(
        """() => {
            const canvas = document.getElementById("canvas");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return [...new Set(new Uint32Array(data.buffer))];
        }"""
    )
    red, green, blue = class_colour(3)  # of persons
    assert red | green << 8 | blue << 16 | 0xFF << 24 in {colour & 0xFFFFFFFF for colour in colours}

    page.click("#copy-json")
    playwright.expect(page.locator("#copy-json")).to_have_text("Copied")
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    words = shlex.split(page.locator("#curl").text_content())
    assert words[:3] == ["curl", "--data-binary", "@a man's camera.jpg"]
    answer = httpx.post(words[3], content=CAMERA.path.read_bytes()).json()
    assert copied == {**answer, "images": [{**answer["images"][0], "file": "a man's camera.jpg"}]}


@needs_browser
def test_threshold_and_classes_filter_what_is_there_without_a_request(visit: Visit, detector: Detector) -> None:
    every = detector(CAMERA.path)
    page = visit.open()
    page.click("[data-sample='camera.jpg']")
    playwright.expect(page.locator("#summary")).to_have_text("person")
    for score in (0.05, 0.3, 0.95, 0.05):
        visit.set_score(score)
        assert len(visit.rows()) == (every.scores >= score).sum()
    playwright.expect(page.locator("#score-value")).to_have_text("0.05")
    visit.set_score(1)
    playwright.expect(page.locator("#summary")).to_have_text("nothing found")
    playwright.expect(page.locator("#remarks")).to_contain_text(f"or of other classes: {len(every)}.")
    visit.set_score(0.05)
    others = [name for name in every.above(0.05).names if name != "person"]
    assert others
    page.locator(".chip", has_text="person").click()
    assert visit.rows() == others
    assert "classes=bus,car,cat,train" in page.locator("#curl").text_content()
    page.click("#no-classes")
    assert visit.rows() == []
    playwright.expect(page.locator("#summary")).to_have_text("no class is chosen")
    page.click("#all-classes")
    assert len(visit.rows()) == len(every.above(0.05))
    assert visit.detect_requests == 1


@needs_browser
def test_images_are_pasted_and_other_things_are_refused_in_words(visit: Visit) -> None:
    page = visit.open()
    paste(
        page,
        page.evaluate_handle(
            "() => { const data = new DataTransfer(); data.setData('text/plain', 'x'); return data; }"
        ),
    )
    playwright.expect(page.locator("#notice")).to_contain_text("clipboard holds no image")
    paste(page, transfer(page, ("image.png", "image/png", CHELSEA.path.read_bytes())))
    playwright.expect(page.locator("#summary")).to_have_text("cat")
    playwright.expect(page.locator("#notice")).to_be_hidden()


@needs_browser
def test_of_several_files_each_has_its_result_or_its_error(visit: Visit) -> None:
    page = visit.open()
    large = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": b"\xff" * 600_000}
    page.set_input_files("#choose-images", [CHELSEA.path, ASTRONAUT.path])
    page.set_input_files("#choose-images", [TEXT_FILE, large])
    page.locator(".tile:nth-child(4)[data-state=failed]").wait_for()
    assert page.locator(".tile .count").all_text_contents() == ["1", "1", "!", "!"]
    labels = [tile.get_attribute("aria-label") for tile in page.locator(".tile").all()]
    assert [label.split(": ")[1] for label in labels] == ["1 detection", "1 detection", "failed", "failed"]
    playwright.expect(page.locator("#failure-title")).to_have_text("Not an image that can be read")
    playwright.expect(page.locator("#failure-text")).to_contain_text("JPEG, PNG")
    playwright.expect(page.locator("#retry")).to_be_hidden()
    page.locator(".tile").nth(2).focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#failure-text")).to_contain_text("up to 0.5 MB")
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    playwright.expect(page.locator("#summary")).to_have_text("person")
    playwright.expect(page.locator("#failure")).to_be_hidden()
    assert visit.detect_requests == 3  # the large one was not sent


@needs_browser
def test_markup_in_names_of_classes_and_files_is_text(visit: Visit) -> None:
    detection = {"box": [10, 10, 200, 200], "label": MARKUP, "score": 0.9}
    image = {"file": "image", "width": 451, "height": 300, "detections": [detection], "remarks": [MARKUP]}
    visit.answer_with("v1/detect", {"model": MARKUP, "images": [image]})
    model = {
        "name": MARKUP,
        "classes": [MARKUP, "a,b"],
        "input_size": [320, 320],
        "default_score": 0.5,
        "min_score": 0.01,
    }
    visit.answer_with("v1/model", {**model, "max_body_bytes": 10**7, "max_megapixels": 50, "max_images": 16})
    page = visit.open()
    drop(page, (f"{MARKUP}';\x1b[2J.jpg", "image/jpeg", CHELSEA.path.read_bytes()))
    playwright.expect(page.locator("#summary")).to_have_text(MARKUP)
    playwright.expect(page.locator("#remarks")).to_have_text(MARKUP)
    playwright.expect(page.locator("#model strong")).to_have_text(MARKUP)
    assert visit.rows() == [MARKUP]
    page.click(".chip:first-child")
    words = shlex.split(page.locator("#curl").text_content())
    assert words[:3] == ["curl", "--data-binary", f"@{MARKUP}';_[2J.jpg"]
    assert words[3].endswith("score=0.5&classes=a%2Cb")
    page.click(".chip:first-child")
    page.hover("#detections li")
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("window.wasRun") is None


@needs_browser
def test_a_busy_server_is_asked_again_after_the_time_it_gives(visit: Visit) -> None:
    page = visit.open()
    statuses = [503, 503]

    def answer(route: Any) -> None:
        if statuses:
            route.fulfill(status=statuses.pop(), headers={"Retry-After": "1"}, body="{}")
        else:
            route.continue_()

    page.route("**/v1/detect*", answer)
    page.click("[data-sample='chelsea.jpg']")
    playwright.expect(page.locator("#notice")).to_contain_text("busy. Trying again in 1 s")
    playwright.expect(page.locator("#summary")).to_have_text("cat")
    playwright.expect(page.locator("#notice")).to_be_hidden()
    assert visit.detect_requests == 3

    statuses += [503] * 100
    page.set_input_files("#choose-images", [ASTRONAUT.path, ROCKET.path])
    page.click("#notice-action")
    playwright.expect(page.locator("#failure-title")).to_have_text("Not sent")
    statuses.clear()
    page.click("#retry")
    playwright.expect(page.locator("#summary")).to_have_text("person")


@needs_browser
def test_what_is_opened_before_the_server_answers_is_sent_when_it_does(visit: Visit) -> None:
    page = visit.page
    page.route("**/v1/model", lambda route: route.abort())
    page.goto(visit.address)
    playwright.expect(page.locator("#notice")).to_contain_text("The server does not answer")
    drop(page, ("cat.jpg", "image/jpeg", CHELSEA.path.read_bytes()))
    playwright.expect(page.locator("#notice-action")).to_have_text("Try again")
    page.unroute("**/v1/model")
    assert visit.detect_requests == 0
    page.click("#notice-action")
    playwright.expect(page.locator("#summary")).to_have_text("cat")
    playwright.expect(page.locator("#notice")).to_be_hidden()


@needs_browser
def test_a_server_that_is_gone_or_fails_is_told_in_words(visit: Visit) -> None:
    page = visit.open()
    page.route("**/v1/detect*", lambda route: route.abort())
    page.click("[data-sample='chelsea.jpg']")
    playwright.expect(page.locator("#failure-title")).to_have_text("The server does not answer")
    page.unroute("**/v1/detect*")
    page.route("**/v1/detect*", lambda route: route.fulfill(status=504, json={"detail": "not done within 30 s"}))
    page.click("#retry")
    playwright.expect(page.locator("#failure")).to_contain_text("not done within 30 s")
    page.unroute("**/v1/detect*")
    page.route("**/v1/detect*", lambda route: route.fulfill(body="<p>A proxy"))
    page.click("#retry")
    playwright.expect(page.locator("#failure-title")).to_have_text("The answer cannot be read")
    page.unroute("**/v1/detect*")
    image = {"file": "image", "width": 451, "height": 300, "detections": []}
    visit.answer_with("v1/detect", {"model": "another", "images": [image]})
    page.click("#retry")
    playwright.expect(page.locator("#remarks")).to_contain_text("another model")


@needs_browser
def test_the_camera_sends_one_frame_at_a_time_until_it_is_stopped(visit: Visit) -> None:
    visit.page.add_init_script(
        """const fetchOfBrowser = window.fetch;
        let inFlight = 0;
        window.mostInFlight = 0;
        window.fetch = async (...request) => {
            window.mostInFlight = Math.max(window.mostInFlight, ++inFlight);
            return fetchOfBrowser(...request).finally(() => inFlight--);
        };"""
    )
    page = visit.open()
    page.click("#welcome [data-source=camera]")
    playwright.expect(page.locator("#live-text")).to_have_text(re.compile(r"[\d.]+ frames/s"))
    while visit.detect_requests < 8:
        page.wait_for_timeout(50)
    page.click("#stop")
    playwright.expect(page.locator("#live-text")).to_have_text(re.compile(r"\d+ frames$"))
    asked = visit.detect_requests
    page.wait_for_timeout(300)
    assert visit.detect_requests == asked
    assert page.evaluate("mostInFlight") == 1
    assert "'@frame.jpg'" in page.locator("#curl").text_content()
    visit.set_score(0.01)  # the last frame stays, and is filtered as an image is
    playwright.expect(page.locator("#copy-json")).to_be_enabled()


@needs_browser
def test_a_camera_that_is_refused_is_told_in_words(visit: Visit) -> None:
    refuse = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    visit.page.add_init_script(refuse)
    page = visit.open()
    page.click("#welcome [data-source=camera]")
    playwright.expect(page.locator("#notice")).to_contain_text("not allowed to use the camera")
    playwright.expect(page.locator("#welcome")).to_be_visible()


@needs_browser
def test_a_video_plays_to_its_end_and_a_broken_one_says_so(visit: Visit, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs PyAV (extra video) to write a video")
    path = tmp_path / "cat.webm"
    with av.open(path, "w") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height = 320, 240
        pixels = np.asarray(Image.open(CHELSEA.path).resize((320, 240)))
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    page = visit.open()
    page.set_input_files("#choose-video", path)
    playwright.expect(page.locator("#summary")).to_have_text("cat")
    playwright.expect(page.locator("#live-text")).to_have_text(re.compile(r"^\d+ frames?$"))
    page.set_input_files("#choose-video", {"name": "cut.webm", "mimeType": "video/webm", "buffer": b"\x1a\x45\xdf\xa3"})
    playwright.expect(page.locator("#notice")).to_contain_text("cannot play cut.webm")


@needs_browser
def test_all_can_be_done_with_the_keyboard(visit: Visit) -> None:
    page = visit.open()
    names = []
    while not names or names[-1] != "a man with a camera":
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "(document.activeElement.innerText || document.activeElement.querySelector('img')?.alt).trim()"
            )
        )
        assert len(names) < 12
    assert names[:4] == ["singleshot", "Choose images", "Use the camera", "Open a video"]
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#summary")).to_have_text("person")
    page.focus("#score")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    playwright.expect(page.locator("#score-value")).to_have_text("0.30")
    page.locator("#detections button").first.focus()
    page.keyboard.press("ArrowDown")
    second = page.locator("#detections button").nth(1)
    playwright.expect(second).to_be_focused()
    playwright.expect(second).to_have_attribute("aria-current", "true")
    playwright.expect(second).to_have_attribute("aria-label", re.compile(r"person 0\.\d\d, from \d+, \d+ to"))
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#detections [aria-current=true]")).to_have_count(0)


@needs_browser
def test_a_box_in_the_image_and_its_row_are_marked_together(visit: Visit) -> None:
    page = visit.open()
    page.click("[data-sample='chelsea.jpg']")
    playwright.expect(page.locator("#summary")).to_have_text("cat")
    area = page.locator("#canvas").bounding_box()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    playwright.expect(page.locator("#detections button")).to_have_attribute("aria-current", "true")
    page.mouse.move(area["x"] + area["width"] - 3, area["y"] + 3)
    playwright.expect(page.locator("#detections button")).to_have_attribute("aria-current", "false")


@needs_browser
def test_the_saved_image_has_its_full_size_and_the_boxes(visit: Visit) -> None:
    page = visit.open()
    page.click("[data-sample='chelsea.jpg']")
    playwright.expect(page.locator("#summary")).to_have_text("cat")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "chelsea-detections.jpg"
    with (
        Image.open(io.BytesIO(Path(download.value.path()).read_bytes())) as saved,
        Image.open(CHELSEA.path) as original,
    ):
        assert saved.size == original.size
        changed = np.abs(np.asarray(saved, int) - np.asarray(original, int)).max(axis=2) > 60
    assert 0.005 < changed.mean() < 0.2


@needs_browser
def test_a_token_is_asked_for_and_kept_out_of_the_curl_line(visit: Visit) -> None:
    def answer(route: Any) -> None:
        if route.request.headers.get("authorization") == "Bearer s3cret":
            route.continue_()
        else:
            route.fulfill(status=401, json={"detail": "expected a token"})

    visit.page.route("**/v1/*", answer)
    page = visit.page
    page.goto(visit.address)
    for token in ("wrong", "s3cret"):
        page.fill("#token", token)
        page.keyboard.press("Enter")
    page.locator("#model strong").wait_for()
    playwright.expect(page.locator("#token-dialog")).to_be_hidden()
    page.click("[data-sample='chelsea.jpg']")
    playwright.expect(page.locator("#summary")).to_have_text("cat")
    line = page.locator("#curl").text_content()
    assert '-H "Authorization: Bearer $TOKEN"' in line
    assert "s3cret" not in line + page.content()


@needs_browser
def test_pages_of_other_origins_and_rebound_names_get_nothing(browser: Any, address: str, elsewhere: str) -> None:
    page = Visit(browser, address).page
    page.goto(elsewhere)
    ask = "([url, mode]) => fetch(url, { method: 'POST', body: 'x', mode }).then((answer) => answer.text(), () => null)"
    before = refused(address)
    for mode in ("cors", "no-cors"):
        assert page.evaluate(ask, [f"{address}v1/detect", mode]) is None
    assert refused(address) == before + 2
    answer = page.goto(address.replace("127.0.0.1", REBOUND))
    assert answer.status == 421
    page.context.close()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phones_and_colour_schemes(browser: Any, address: str, scheme: str) -> None:
    size = {"width": 360, "height": 640}
    visit = Visit(browser, address, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = visit.open()
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 360
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(channels) > 200) if scheme == "light" else (max(channels) < 60)
    page.set_input_files("#choose-images", ASTRONAUT.path)
    page.set_input_files("#choose-images", TEXT_FILE)
    page.locator(".tile:nth-child(2)[data-state=failed]").wait_for()
    assert page.evaluate(width) == 360
    page.click(".tile:first-child")
    stage = page.locator("#stage").bounding_box()
    assert stage["width"] == pytest.approx(stage["height"], abs=2)  # as the image is
    assert page.evaluate("document.getAnimations().length") == 0
    visit.context.close()


@needs_browser
def test_classes_have_the_colours_that_the_program_draws_them_in(visit: Visit) -> None:
    page = visit.open()
    colours = page.evaluate(
        """async () => {
            const { classColour } = await import("/static/colours.js");
            return Array.from({ length: 200 }, (_, label) => classColour(label));
        }"""
    )
    assert [tuple(colour) for colour in colours] == [class_colour(label) for label in range(200)]
