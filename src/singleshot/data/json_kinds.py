"""Tell which tool wrote a json, from its first 64 KB."""

from __future__ import annotations

import re
from pathlib import Path

from singleshot.data.listing import files_in

HEAD_BYTES = 2**16
MOST_FILES = 50
_COCO_KEYS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_LABEL_STUDIO = re.compile(rb'"(from_name|original_width|completions|rectanglelabels|polygonlabels|brushlabels)"\s*:')


def json_kind(file: Path) -> str | None:
    """`coco`, `labelme`, `label_studio`, `create_ml` or `via`; None for any other file, and where it cannot be read."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as content:
            head = content.read(HEAD_BYTES)
    except OSError:
        return None
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        head = head[2:].replace(b"\0", b"")
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        return _kind_of_list(head)
    if not head.startswith(b"{"):
        return None
    if b'"shapes"' in head and (b'"imagePath"' in head or b'"flags"' in head):
        return "labelme"
    if (
        b'"_via_img_metadata"' in head
        or b'"_via_settings"' in head
        or (b'"regions"' in head and b'"filename"' in head and b'"size"' in head)
    ):
        return "via"
    keys = set(_COCO_KEYS.findall(head))
    # a long file shows one of its lists only; our own json of detections has `images`, too
    enough = 1 if len(head) > HEAD_BYTES // 2 else 2
    return "coco" if len(keys) >= enough and b'"detections"' not in head else None


def _kind_of_list(head: bytes) -> str | None:
    if b'"coordinates"' in head and (b'"annotations"' in head or b'"annotation"' in head):
        return "create_ml"
    if _LABEL_STUDIO.search(head) or (b'"data"' in head and b'"annotations"' in head):
        return "label_studio"
    return None


def jsons_of_kind(folder: Path, kind: str) -> list[Path]:
    """The json files of a folder that are of a kind, in alphabetical order; hidden ones do not count.

    None where the folder has more than `MOST_FILES`: they are one an image, not one a set.
    """
    files = files_in(folder, ".json")
    return [file for file in files if json_kind(file) == kind] if len(files) <= MOST_FILES else []
