"""`ssd completion`."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish", "powershell"]) -> None:
    """Print a script that completes verbs, flags and their values; nothing is written to your files.

    bash: ssd completion bash > ~/.local/share/bash-completion/completions/ssd

    zsh: ssd completion zsh > "${fpath[1]}/_ssd"

    fish: ssd completion fish > ~/.config/fish/completions/ssd.fish

    PowerShell: add the script to the file that $PROFILE names.

    Args:
        shell: whose completion.
    """
    from singleshot.cli.main import app

    print(app.generate_completion(shell=shell))
