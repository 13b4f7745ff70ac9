"""Bad input by the thousand: what every kind of fault gives, one figure a row of docs/reliability.md.

    python benchmarks/input_drills.py [DRILL ...] [--seed 0]

Each drill runs in a process of its own, so that a crash is a figure, too. Exit 1 where a drill did not go as promised.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import pickle
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from own_process import in_own_process
from PIL import Image

import singleshot
from singleshot.data.check import check
from singleshot.decode import decode_image
from singleshot.errors import HashError, ImageError, ModelError, SingleshotError
from singleshot.photographs import PHOTOGRAPHS
from singleshot.runtime.detector import Detector
from singleshot.weights.folder import read_folder

SHIPPED = Path(singleshot.__file__).parent / "shipped" / "ssdlite320-mobilenetv2"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
Random = np.random.Generator


class BrokenPromiseError(Exception):
    """A drill did not give what docs/reliability.md promises."""


def require(kept: bool, broken: str) -> None:
    """Raise where a promise was not kept."""
    if not kept:
        raise BrokenPromiseError(broken)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The content of a file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph(side: int) -> Image.Image:
    """A photograph, small."""
    return Image.fromarray(PHOTOGRAPHS[0].pixels()).resize((side, side))


def pixel_bombs(_random: Random) -> str:
    """PNG files of some 50 KB that are whole and open to hundreds of megapixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    before, sizes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for number in range(20):
        side = 7_200 + 1_000 * number
        packer, parts = zlib.compressobj(9), list[bytes]()
        for _ in range(side):
            parts.append(packer.compress(bytes(side // 8 + 2)))
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        pixels = chunk(b"IDAT", b"".join([*parts, packer.flush()]))
        content = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
        sizes.append(len(content))
        try:
            decode_image(content)
        except ImageError as error:
            require("50 megapixels" in str(error), str(error))
        else:
            raise BrokenPromiseError(f"{side} x {side} pixels were decoded")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    require(grown < 300, f"memory grew by {grown:.0f} MB")
    return f"20 of 20 refused (up to {max(sizes) / 1000:.0f} KB each), memory grew by {grown:.0f} MB"


def cut_files(random: Random) -> str:
    """Files of every format, cut at 200 places."""
    whole = [encoded(photograph(200), kind) for kind in FORMATS]
    silent = 0
    for number in range(200):
        content = whole[number % len(whole)]
        try:
            decode_image(content[: random.integers(0, len(content) - 1)])
            silent += 1
        except ImageError:
            pass
    require(silent == 0, f"{silent} of 200 cuts gave an image")
    return "200 cut points in 6 formats, 0 silent"


def mutations(random: Random, count: int = 100_000) -> str:
    """Bytes changed, removed and put in: an image or an `ImageError`, nothing else."""
    whole = [encoded(photograph(32), kind) for kind in FORMATS]
    outcomes = Counter[str]()
    warnings.simplefilter("ignore")
    logging.disable()  # Pillow's remarks on damaged TIFF files
    for number in range(count):
        content = bytearray(whole[number % len(whole)])
        for _ in range(random.integers(1, 8)):
            place = int(random.integers(0, len(content)))
            kind = random.integers(0, 3)
            if kind == 0:
                content[place] = int(random.integers(0, 256))
            elif kind == 1:
                del content[place : place + int(random.integers(1, 16))]
            else:
                content[place:place] = random.bytes(int(random.integers(1, 16)))
            if not content:
                break
        try:
            decode_image(bytes(content), max_pixels=1_000_000)
            outcomes["decoded"] += 1
        except ImageError:
            outcomes["refused"] += 1
    return f"{count:,} mutations, 0 crashes ({outcomes['decoded']:,} decoded, {outcomes['refused']:,} refused)"


def exotic_formats(_random: Random) -> str:
    """Every format that Pillow can write: read if it is on the list, else refused."""
    Image.init()
    read, refused = list[str](), list[str]()
    for kind in sorted(Image.SAVE):
        content = b""
        for mode in ("RGB", "L", "1", "P", "F"):
            try:
                content = encoded(photograph(64).convert(mode), kind)
                break
            except Exception:  # noqa: BLE001, S112  (not every format has every mode, and some need programs)
                continue
        if not content:
            continue
        try:
            decode_image(content)
            read.append(kind)
        except ImageError as error:
            refused.append(kind)
            require(len(str(error).splitlines()) == 1, f"{kind}: {error}")
    return f"{len(read)} read ({', '.join(read)}), {len(refused)} refused in a line, 0 others"


def orientations(_random: Random) -> str:
    """The eight EXIF orientations, in four formats, on two engines: the boxes of the displayed image."""
    upright = Image.fromarray(PHOTOGRAPHS[0].pixels()).resize((320, 240))
    stored = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that undo the displayed turn
    furthest, calls = 0.0, 0
    for detector in (Detector.load(score=0.05), Detector.load(score=0.05, precision="fp32")):
        expected = detector(upright)
        for orientation, turn in stored.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            turned = upright if turn is None else upright.transpose(Image.Transpose(turn))
            for kind in ("PNG", "TIFF", "WEBP"):
                options = {"lossless": True} if kind == "WEBP" else {}
                boxes = detector(encoded(turned, kind, exif=exif, **options)).boxes
                require(boxes.shape == expected.boxes.shape, f"{kind}, orientation {orientation}: other boxes")
                furthest = max(furthest, float(np.abs(boxes - expected.boxes).max(initial=0)))
                calls += 1
    require(furthest <= 1, f"boxes move by {furthest:.1f} pixels")
    return f"{calls} files, boxes within {furthest:g} pixels"


def colours(random: Random) -> str:
    """16 bits, grey, 1 bit, palette, alpha and CMYK beside OpenCV's reading of the same file."""
    furthest = 0
    files = {
        f"{mode} {kind}": encoded(photograph(64).convert(mode), kind)
        for mode, kind in (
            ("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"),
            ("L", "JPEG"), ("CMYK", "JPEG"), ("L", "TIFF"), ("RGBA", "WEBP"), ("L", "BMP"),
        )
    }  # fmt: skip
    for channels in (1, 3):
        values = random.integers(0, 65536, (64, 64, channels), dtype=np.uint16)
        for suffix in (".png", ".tiff"):
            files[f"16 bits x {channels} {suffix}"] = cv2.imencode(suffix, values)[1].tobytes()
    for content in files.values():
        theirs = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        furthest = max(furthest, int(np.abs(decode_image(content).astype(int) - theirs).max()))
    require(furthest <= 2, f"{furthest} levels from OpenCV")
    return f"{len(files)} kinds, within {furthest} levels of OpenCV"


def animations(_random: Random) -> str:
    """GIF, WebP and APNG of three frames: the first, and a warning."""
    frames = [Image.new("RGB", (32, 32), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            pixels = decode_image(content)
        require(len(said) == 1 and bool((pixels == (255, 0, 0)).all()), f"{kind}: {len(said)} warnings")
    return "3 of 3 give the first frame and a warning"


def sizes(random: Random, count: int = 300) -> str:
    """Images from 1 x 1 to 3000 x 1 and back: finite boxes inside the image."""
    detector = Detector.load()
    extreme = [(1, 1), (1, 3000), (3000, 1), (2, 2), (4000, 3)]
    some = [(int(h), int(w)) for h, w in np.exp(random.uniform(0, np.log(1500), (count - len(extreme), 2)))]
    found = 0
    for height, width in extreme + some:
        detections = detector(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        inside = (detections.boxes >= 0).all() and (detections.boxes <= (width, height, width, height)).all()
        require(bool(np.isfinite(detections.boxes).all() and inside), f"{width} x {height}")
        found += len(detections)
    return f"{count} sizes, {found:,} boxes, all finite and inside"


def bad_boxes(random: Random, count: int = 10_000) -> str:
    """Boxes that are not finite, inverted, without area, outside: `data check` names each of them."""
    with tempfile.TemporaryDirectory() as folder:
        rows, bad = ["file,x1,y1,x2,y2,label"], 0
        for number in range(count):
            if number % 100 == 0:
                pixels = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(Path(folder, f"{number // 100}.png"))
            x, y = random.integers(0, 40, 2)
            box, faulty = {
                0: ((x, y, x + 20, y + 15), False),
                1: (("nan", y, x + 20, y + 15), True),
                2: ((x + 20, y, x, y + 15), True),
                3: ((x, y, x, y + 15), True),
                4: ((x + 100, y, x + 120, y + 15), True),
                5: ((x, y, "inf", y + 15), True),
                6: ((-5, y, x + 20, y + 15), True),
            }[int(random.integers(0, 7))]
            bad += faulty
            rows.append(",".join(map(str, (f"{number // 100}.png", *box, "a"))))
        Path(folder, "labels.csv").write_text("\n".join(rows))
        report = check(Path(folder, "labels.csv"))
    named = sum(fault.number > 0 for fault in report.faults)
    require(named == bad, f"{bad} bad boxes, {named} named")
    return f"{count:,} boxes, {bad:,} bad, {named:,} named with file and object"


def payloads() -> Iterator[tuple[str, str, bytes]]:
    """Name, file name and content of JSON and XML that is meant to hurt."""
    coco = b'{"images":[{"id":1,"file_name":"a.jpg","width":%s,"height":10}],"annotations":[],"categories":[]}'
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1"):
        yield number.decode(), "x.json", coco % number
    for opening in (b"[", b'{"a":'):
        yield f"100,000 x {opening.decode()}", "x.json", b'{"images":' + opening * 100_000
    yield "a number of a million digits", "x.json", coco % (b"1" * 1_000_000)
    lines = [b'<!ENTITY a0 "lol">', *(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))]
    document = b"<?xml version='1.0'?><!DOCTYPE annotation [%s]><annotation>%s</annotation>"
    yield "billion laughs", "x.xml", document % (b"".join(lines), b"&a9;")
    yield "quadratic blow-up", "x.xml", document % (b'<!ENTITY a "%s">' % (b"x" * 50_000), b"&a;" * 50_000)
    yield "external entity", "x.xml", document % (b'<!ENTITY a SYSTEM "file:///etc/hostname">', b"&a;")
    yield "entity of an address", "x.xml", document % (b'<!ENTITY %% a SYSTEM "http://127.0.0.1:9/a"> %%a;', b"")


def entity_bombs(_random: Random) -> str:
    """JSON with NaN, Infinity and deep nesting; XML with entities: refused or named as a fault within 0.1 s."""
    slowest, count = 0.0, 0
    for name, file, content in payloads():
        with tempfile.TemporaryDirectory() as folder:
            Image.new("RGB", (10, 10)).save(Path(folder, "a.jpg"))
            path = Path(folder, file)
            path.write_bytes(content)
            start = time.perf_counter()
            try:
                refused = bool(check(path if file.endswith("json") else Path(folder)).faults)
            except SingleshotError as error:
                refused = len(str(error)) < 2_000
            slowest, count = max(slowest, time.perf_counter() - start), count + 1
            require(refused, f"{name}: accepted")
    require(slowest < 0.1, f"one took {slowest:.2f} s")
    return f"{count} of {count} refused, the slowest in {1000 * slowest:.0f} ms"


def pickles(_random: Random) -> str:
    """Files that run code when they are unpickled, under every name that a checkpoint has."""
    from singleshot.commands.import_weights import import_files

    ran = Path(tempfile.mkdtemp()) / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return exec, (f"open({str(ran)!r}, 'w')",)

    import torch

    buffer = io.BytesIO()
    torch.save({"weight": Bomb()}, buffer)
    arrays = io.BytesIO()
    np.savez(arrays, weight=np.array([Bomb()], dtype=object))
    contents = {"pickle": pickle.dumps(Bomb()), "torch": buffer.getvalue(), "numpy": arrays.getvalue()}
    suffixes = (".pth", ".pt", ".npz", ".pkl", ".safetensors", ".tflite", ".pb", ".ckpt", ".onnx", ".bin")
    count = 0
    for suffix in suffixes:
        for kind, content in contents.items():
            path = ran.parent / f"{kind}{suffix}"
            path.write_bytes(content)
            for load in (Detector.load, lambda file: import_files([file], ran.parent / "out")):
                count += 1
                try:
                    load(path)
                except SingleshotError:
                    continue
                raise BrokenPromiseError(f"{path.name} was loaded")
    require(not ran.exists(), "code ran")
    shutil.rmtree(ran.parent)
    return f"{count} of {count} refused, 0 ran"


def flipped_bits(random: Random, count: int = 1000) -> str:
    """One bit of one file of the shipped model."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        shutil.copytree(SHIPPED, model, ignore=shutil.ignore_patterns("openvino-*"))
        files = sorted(path for path in model.iterdir() if path.is_file())
        for number in range(count):
            path = files[number % len(files)]
            place = int(random.integers(0, 8 * path.stat().st_size))
            with path.open("r+b") as file:
                file.seek(place // 8)
                byte = file.read(1)[0]
                file.seek(place // 8)
                file.write(bytes([byte ^ 1 << place % 8]))
                file.flush()
                try:
                    read_folder(model).verify()
                except (HashError, ModelError) as error:
                    require(path.name in str(error) or path.name == "SHA256SUMS", f"{path.name}: {error}")
                else:
                    raise BrokenPromiseError(f"bit {place} of {path.name} went unnoticed")
                file.seek(place // 8)
                file.write(bytes([byte]))
        read_folder(model).verify()
    return f"{count:,} of {count:,} refused, the file named"


def poisoned_weights(random: Random) -> str:
    """A network whose results are not finite: they are left out, and the JSON stays valid."""
    import torch

    detector = Detector.load(precision="fp32")
    network = detector.backend.network  # type: ignore[attr-defined]
    heads = [parameter for name, parameter in network.named_parameters() if "head" in name]
    for value in (float("nan"), float("inf"), -float("inf"), 3e38):
        with torch.no_grad():
            for parameter in heads:
                flat = parameter.view(-1)
                places = random.integers(0, len(flat), max(1, len(flat) // 50))
                flat[torch.from_numpy(places)] = value
        detections = detector(PHOTOGRAPHS[0].pixels())
        json.dumps(detections.to_dicts(), allow_nan=False)
        require(bool(np.isfinite(detections.boxes).all() and np.isfinite(detections.scores).all()), str(value))
    return "4 of 4 give finite detections and valid JSON"


DRILLS: dict[str, Callable[[Random], str]] = {
    function.__name__: function
    for function in (
        pixel_bombs, cut_files, mutations, exotic_formats, orientations, colours, animations, sizes, bad_boxes,
        entity_bombs, pickles, flipped_bits, poisoned_weights,
    )
}  # fmt: skip


def run(name: str, seed: int) -> tuple[bool, str]:
    """Whether a drill's promise was kept, and its figure."""
    try:
        return True, DRILLS[name](np.random.default_rng(seed))
    except BrokenPromiseError as error:
        return False, str(error)
    except Exception as error:  # noqa: BLE001  (what a drill exists to find)
        return False, f"{type(error).__name__}: {error}"


def main() -> int:
    """Run the drills; print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drills", nargs="*", metavar="DRILL", help=", ".join(DRILLS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.drills or DRILLS:
        start = time.perf_counter()
        kept, figure = in_own_process(run, name, arguments.seed)
        failed += not kept
        seconds = time.perf_counter() - start
        print(f"{name:18} {'kept  ' if kept else 'BROKEN'} {figure}  [{seconds:.0f} s]", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
