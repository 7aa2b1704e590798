"""The rehearsal folder: what a sender puts there is judged by the contract of its tool, and never handed over.

Pure. The folder lies at the top of what a sender sees, which is its home in the drop. Below it a file has the name that it would
have in earnest: ``check/sub/enrols.csv`` rehearses ``sub/enrols.csv``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftpgate.policy.names import join


@dataclass(frozen=True, slots=True)
class RehearsalRules:
    """Where rehearsals lie. ``folder`` is a name at the top of each home; empty: there are none, and no name is special."""

    folder: str = ""

    def rehearsed(self, path: str, home: str) -> str | None:
        """Return the path that a file of somebody whose home is ``home`` would have in earnest; None if it is no rehearsal."""
        top = self.folder_in(home)
        return join(home, path[len(top) + 1 :]) if top is not None and path.startswith(f"{top}/") else None

    def folder_in(self, home: str) -> str | None:
        """Return the folder of those whose home is ``home``, relative to the drop; None if there is none."""
        return join(home, self.folder) if self.folder else None


NO_REHEARSALS = RehearsalRules()
