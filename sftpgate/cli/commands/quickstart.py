"""``sftpgate quickstart``: from nothing to a server that is proven to work, then serve. It is what ``make run`` runs."""

from __future__ import annotations

import os
import shlex
import sys

from rich.console import Console
from rich.markup import escape

from sftpgate.app.installation.quickstart import Login, program, set_up


def quickstart() -> None:
    """Set everything up, prove it with a sample file, and serve until Ctrl-C.

    Example: sftpgate quickstart
    """
    shown = _Shown()
    if login := set_up(shown):
        shown.what_next(login)
    sys.stdout.flush()
    os.execv(sys.executable, program("serve"))  # noqa: S606 - Ctrl-C and SIGTERM then go to the server itself


class _Shown:
    """Shows a person each step."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def step(self, what: str, detail: str) -> None:
        self._console.print(f"[green]✓[/green] {what:<10} {escape(detail)}")

    def password(self, password: str) -> None:
        self._console.print(f"             its password, shown this once: [bold]{password}[/bold]")

    def record(self, arrival: str, text: str) -> None:
        self._console.print(f"\n  $ sftpgate show {arrival}", style="bold", markup=False)
        self._console.print("".join(f"  {line}\n" for line in text.splitlines()), markup=False)

    def what_next(self, login: Login) -> None:
        self._console.print("\nConnect as the ERP, from another terminal:\n", markup=False)
        self._console.print(f"  {shlex.join(login.sftp())}\n", markup=False)
        self._console.print(
            "Then `put enrols.csv`, and here: `sftpgate run enrols` (in .venv/bin after `make run`).\n", markup=False
        )
