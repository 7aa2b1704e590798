"""For Python scripts that process the files of a tool themselves: the protocol of runners, with the settings of this gate.

    from sftpgate.scripts import claimed

    async with claimed("enrols") as claim:
        if claim is not None:
            process(claim.path)
            claim.output.write_text("12 enrolled\\n")

The end of the block archives the file and writes the report; an exception in it is a failed attempt, whose report has its
traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sftpgate.app.composition import name_rules
from sftpgate.app.context import opened, read_settings
from sftpgate.app.runs.claims import make_claims
from sftpgate.policy.tools import check_tools
from sftpgate.runners import heartbeat
from sftpgate.runners.claims import Claim


@contextlib.asynccontextmanager
async def claimed(tool: str) -> AsyncIterator[Claim | None]:
    """Hold the oldest file that waits for ``tool``; None if there is none, or if the tool is at work elsewhere.

    Raises SettingsError, UnknownTool, and at the end ClaimLost if another host has taken the claim meanwhile. Blocks for a
    moment while it opens the ledger.
    """
    settings = read_settings()
    check_tools(settings.tools, name_rules(settings))
    with opened(settings) as site:
        async with heartbeat.claimed(make_claims(site), tool) as claim:
            yield claim
