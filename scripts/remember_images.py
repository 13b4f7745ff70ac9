"""Note in a model folder from before `learnt.safetensors` which images it learnt; nothing else in it changes.

python scripts/remember_images.py src/singleshot/shipped/ssdlite320-mobilenetv2 \
    --data ../shared/data/voc2007 --split trainval

Exports inside the folder get the same file.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from singleshot.commands.learnt_images import paths_of
from singleshot.console import results
from singleshot.data.image_hashes import hash_images
from singleshot.data.recognise import open_data
from singleshot.files import write_whole
from singleshot.weights.folder import LEARNT, SUMS, read_folder
from singleshot.weights.learnt import LearntImages, format_learnt


def main() -> None:
    """Hash the images and write the file and its line of SHA256SUMS."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True, help="the set that it was trained on")
    parser.add_argument("--split", required=True, help="the split that it was trained on")
    given = parser.parse_args()
    trained = hash_images(paths_of(open_data(given.data, split=given.split)))
    name = f"{Path(given.data).resolve().name}, split {given.split}"
    content = format_learnt(LearntImages(trained, names={"trained": name}))
    for folder in (given.model, *(sums.parent for sums in sorted(given.model.glob(f"*/{SUMS}")))):
        read_folder(folder).verify()
        lines = [line for line in (folder / SUMS).read_text(encoding="utf-8").splitlines() if not line.endswith(LEARNT)]
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {LEARNT}")
        write_whole(folder / LEARNT, content)
        write_whole(folder / SUMS, "\n".join(lines) + "\n")
        read_folder(folder).verify()
        results().print(f"{folder / LEARNT}: {len(trained):,} images, {len(content):,} bytes")


if __name__ == "__main__":
    main()
