"""The verbs of the command line: what each is for, one example, and the verb to use next."""

from __future__ import annotations

from typing import NamedTuple


def epilogue(example: str, following: str) -> str:
    """The last lines of a verb's help."""
    return f"Example: {example}\n\nNext: {following}"


class Verb(NamedTuple):
    """A verb of the command line.

    Attributes:
        function: `module:name`, imported when the verb is called.
        summary: one line for the list of verbs.
        example: a command that its help ends with.
        following: what to run next, and why.
    """

    function: str
    summary: str
    example: str
    following: str

    @property
    def epilogue(self) -> str:
        """The end of its help."""
        return epilogue(self.example, self.following)


VERBS = {
    "detect": Verb(
        "singleshot.cli.detect:detect",
        "Find objects in images and videos.",
        "ssd detect photos/ --out annotated --json detections.json",
        "ssd train teaches your own classes",
    ),
    "track": Verb(
        "singleshot.cli.track:track",
        "Follow the objects of a video: numbers that stay, and counts.",
        "ssd track traffic.mp4 --out tracked --line 380,430,380,200 --mot tracks.txt",
        "ssd evaluate gt.txt --detections tracks.txt measures the tracks",
    ),
    "train": Verb(
        "singleshot.cli.train:train",
        "Train a detector on labelled images.",
        "ssd train my-images --out runs/mine",
        "ssd evaluate my-images --model runs/mine/best measures it; ssd detect uses it",
    ),
    "evaluate": Verb(
        "singleshot.cli.evaluate:evaluate",
        "Measure how good a model, or a file of detections, is.",
        "ssd evaluate my-images --model runs/mine/best --split val --report evaluation.html",
        "ssd analyze shows where the mAP is lost",
    ),
    "analyze": Verb(
        "singleshot.cli.analyze:analyze",
        "See where a model's mAP is lost: error types, sizes, classes, scores.",
        "ssd analyze my-images --model runs/mine/best --report analysis.html",
        "ssd explain traces one image; ssd boxes checks the default boxes",
    ),
    "compare": Verb(
        "singleshot.cli.compare:compare",
        "Set runs or models side by side: figures, curves, settings, images on which they differ.",
        "ssd compare runs/first runs/second --data my-images --report comparison.html",
        "ssd analyze shows where the mAP of one is lost",
    ),
    "label": Verb(
        "singleshot.cli.label:label",
        "Label images with a model, for a person to correct in CVAT, Label Studio or labelme.",
        "ssd label new-images --model runs/mine/best --format cvat --out to-correct",
        "correct the labels in the tool, export them, then ssd train",
    ),
    "boxes": Verb(
        "singleshot.cli.boxes:boxes",
        "See how many objects the default boxes (anchors) reach, and search better ones.",
        "ssd boxes my-images --json boxes.json",
        "ssd train my-images --boxes boxes.json trains with them",
    ),
    "explain": Verb(
        "singleshot.cli.explain:explain",
        "Show which default boxes found the objects of one image.",
        "ssd explain photo.jpg --model runs/mine/best --data my-images",
        "ssd boxes my-images where objects have no default box that fits",
    ),
    "export": Verb(
        "singleshot.cli.export:export",
        "Make a model run without torch, fast, on an engine.",
        "ssd export runs/mine/best --precision int8 --calibrate my-images --out mine-int8",
        "ssd detect photo.jpg --model mine-int8; ssd bench mine-int8 --against none",
    ),
    "data": Verb(
        "singleshot.cli.data:app",
        "Check, describe, convert, split and download data sets.",
        "ssd data check my-images",
        "ssd train my-images",
    ),
    "reproduce": Verb(
        "singleshot.cli.reproduce:reproduce",
        "Train the paper's tables and set the results beside the paper's.",
        "ssd reproduce table2 --plan",
        "ssd reproduce table2 --data my-images --budget small trains it in small",
    ),
    "bench": Verb(
        "singleshot.cli.bench:bench",
        "Measure speed, beside other runtimes and the machine's limit.",
        "ssd bench ssdlite320-mobilenetv2 --against none",
        "ssd export --precision int8 where it is too slow",
    ),
    "models": Verb(
        "singleshot.cli.models:models",
        "List the models, or the layers of one.",
        "ssd models ssdlite320-mobilenetv2",
        "ssd train my-images --model NAME",
    ),
    "weights": Verb(
        "singleshot.cli.weights:app",
        "Import weights of other projects.",
        "ssd weights import ssd300_vgg16_coco.pth --out ssd300-coco",
        "ssd evaluate DATA --model ssd300-coco; ssd export ssd300-coco",
    ),
    "serve": Verb(
        "singleshot.cli.serve:serve",
        "Detect over HTTP: a page for people, an API for programs.",
        "ssd serve --model runs/mine/best",
        "open http://127.0.0.1:8000/; curl --data-binary @photo.jpg http://127.0.0.1:8000/v1/detect",
    ),
    "doctor": Verb(
        "singleshot.cli.doctor:doctor",
        "See whether detection works here, how fast, and what is missing for what.",
        "ssd doctor --json doctor.json",
        "ssd detect photo.jpg; ssd bench measures speed with care",
    ),
    "completion": Verb(
        "singleshot.cli.completion:completion",
        "Print what completes verbs and flags in a shell: bash, zsh, fish, PowerShell.",
        "ssd completion bash > ~/.local/share/bash-completion/completions/ssd",
        "start a new shell, then ssd <Tab>",
    ),
    "demo": Verb(
        "singleshot.cli.demo:demo",
        "Detect, train, evaluate and report on a data set that draws itself (some minutes).",
        "ssd demo --out demo-output",
        "open demo-output/report.html, then ssd train my-images",
    ),
}
