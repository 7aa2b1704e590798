"""Files whose tool has a contract are judged soon after they have come, and their senders told; approvals end in time."""

from __future__ import annotations

import asyncio

from sftpgate.errors import FollowerMoved, SftpgateError
from sftpgate.handover.guard import Guard
from sftpgate.logs import get_logger
from sftpgate.threads import Threads
from sftpgate.upkeep.verdict_reports import VerdictReports

log = get_logger("gate")

SECONDS = 0.25  # between two looks, each of which costs three queries


async def judge_regularly(guard: Guard, threads: Threads) -> None:
    """Look for files to judge, and for approvals that have ended, until cancelled. Ends at once if no tool has a contract."""
    if not guard.is_needed:
        return
    while True:
        try:
            await threads.run(guard.judge_held)
            await threads.run(guard.end_approvals)
        except SftpgateError as error:
            log.warning("contract.failed", reason=error.message)  # the next look may succeed
        await asyncio.sleep(SECONDS)


async def report_regularly(reports: VerdictReports | None, threads: Threads) -> None:
    """Look for rehearsals and warnings to report until cancelled. Ends at once if there are no ``reports`` to write."""
    if reports is None:
        return
    while True:
        try:
            await threads.run(reports.write_new)
        except FollowerMoved:
            pass  # another process, such as a sweep by hand, has written them
        except SftpgateError as error:
            log.warning("contract.not_reported", reason=error.message)  # the next look may succeed
        await asyncio.sleep(SECONDS)
