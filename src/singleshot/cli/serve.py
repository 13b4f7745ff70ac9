"""`ssd serve`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from singleshot.serve.run import ServeOptions, serve_model


def serve(*, options: Annotated[ServeOptions, Parameter(name="*")] = ServeOptions()) -> int:  # noqa: B008
    """Detect over HTTP, for browsers and other programs."""
    from singleshot.console import results

    stdout = results()

    def say(line: str) -> None:
        stdout.print(f"ssd: {line}")
        stdout.file.flush()

    return serve_model(options, say=say)
