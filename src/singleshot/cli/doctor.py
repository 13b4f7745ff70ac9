"""`ssd doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from singleshot.commands.doctor import Diagnosis


def doctor(*, json: Path | None = None) -> int:
    """See what is installed, whether detection works, what speed to expect, and what is missing for what.

    Ends with 0 where detection works.

    Args:
        json: file for the same as data.
    """
    from singleshot.commands.doctor import diagnose
    from singleshot.console import results
    from singleshot.files import require_output, write_json

    require_output(json, "--json", [])
    diagnosis = diagnose()
    for line in lines(diagnosis):
        results().print(line)
    write_json(json, diagnosis.to_json())
    return diagnosis.exit_code


def lines(diagnosis: Diagnosis) -> Iterator[str]:
    """What is printed."""
    yield "singleshot {singleshot}, Python {python}, {system}".format(**diagnosis.versions)
    yield from _machine(diagnosis)
    for name, engine in diagnosis.engines.items():
        yield f"{name:<11} {engine.get('version') or engine['error']}"
    yield from _speed(diagnosis)
    lacking = [extra for extra in diagnosis.extras if extra.missing]
    for extra in lacking:
        purpose = extra.purpose or f"the extra {extra.name}"
        yield f"missing for {purpose}: {', '.join(extra.missing)}; {extra.install}"
    if not lacking:
        yield "nothing is missing: every extra is installed"
    for remark in diagnosis.remarks:
        yield f"to mend: {remark}"


def _machine(diagnosis: Diagnosis) -> Iterator[str]:
    processor = diagnosis.processor
    quota = "" if processor["quota"] is None else f", a quota of {processor['quota']:g}"
    features = ", ".join(processor["features"]) or "no features told"
    yield f"{'processor':<11} {processor['name']}; cores for this process: {processor['cores']}{quota} ({features})"
    sizes = [f"{size / 2**30:.1f} GiB {kind}" for kind, size in diagnosis.memory.items()]
    yield f"{'memory':<11} {', '.join(sizes) or 'not told by the system'}"
    yield f"{'GPU':<11} {', '.join(diagnosis.engines['torch'].get('gpus', ())) or 'none that torch uses'}"


def _speed(diagnosis: Diagnosis) -> Iterator[str]:
    detection = diagnosis.detection
    if not detection["works"]:
        yield f"detection fails: {detection.get('error', 'nothing was found in the photograph of the package')}"
        return
    found = f"{detection['label']} {100 * detection['score']:.0f}%"
    yield f"detection works: {found} by {detection['model']} ({detection['engine']})"
    yield (
        f"speed: {detection['milliseconds']:.1f} ms an image, decoded; {detection['first']:.1f} s from the start to "
        "the first one (measured just now; other programs slow it)"
    )
    expected = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in diagnosis.expected.items())
    yield f"others in fp32, by arithmetic within a factor of 2 or so: {expected}; ssd bench measures"
