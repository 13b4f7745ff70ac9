"""`ssd` and `python -m singleshot`: Ctrl-C ends the program in one line from its first moment on."""

from __future__ import annotations

import signal
import sys


class Interrupted(KeyboardInterrupt):
    """Ctrl-C.

    Python (3.11 to 3.14) ends by the signal itself, whatever the exit code, once a plain KeyboardInterrupt has passed
    through code that `exec` runs, as imports of torch do. A subclass does not count there.
    """


def _interrupt(_number: int, _frame: object) -> None:
    raise Interrupted


def main() -> None:
    """Entry point of the console script: import the command line, and run it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where the shell has it ignored
        signal.signal(signal.SIGINT, _interrupt)
    try:
        from singleshot.cli.main import main as run_command_line

        run_command_line()
    except KeyboardInterrupt:
        print("ssd: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
