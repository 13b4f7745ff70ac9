from __future__ import annotations

import io

from rich.console import Console

from singleshot.console import progress


def shown(*, terminal: bool, every: float) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    with progress(console, "detecting", every=every) as on_image:
        for done in range(1, 4):
            on_image(done, 3000)
    return file.getvalue()


def test_on_a_pipe_there_is_a_line_now_and_then() -> None:
    lines = shown(terminal=False, every=0).splitlines()
    assert [line.split(",")[0] for line in lines] == [f"detecting: {done} of 3" for done in (1, 2, 3)]
    assert shown(terminal=False, every=60) == ""


def test_on_a_terminal_there_is_a_bar() -> None:
    assert "detecting" in shown(terminal=True, every=0)
    assert " of 3" not in shown(terminal=True, every=0)
