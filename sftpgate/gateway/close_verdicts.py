"""The verdict of a contract as the answer of a CLOSE, or of a RENAME that completes a file, for users who want that.

It is waited for as long as the settings say, which most verdicts take less than. If the contract objects, the request fails, with
the sentence as its message; the file has arrived all the same, and is held. A verdict that comes later, and a check that failed
itself, fail no request. What is not held for its contract costs nothing here.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sftpgate.contracts.objections import Objection
from sftpgate.errors import NotAsAgreed, SftpgateError
from sftpgate.handover.guard import Guard
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import HoldReason
from sftpgate.policy.phrases import phrase
from sftpgate.settings.choices import Language, Refuse
from sftpgate.threads import Threads
from sftpgate.users.registry import UserRegistry

log = get_logger("gateway")

_JUDGED = frozenset({HoldReason.UNCHECKED, HoldReason.CONTRACT})


class CloseVerdicts:
    """One per process. ``refuse`` and ``language`` are the gate's, for users who have none of their own. ``threads`` are for this
    alone: a verdict must not keep other requests waiting.
    """

    def __init__(
        self,
        guard: Guard,
        registry: UserRegistry,
        threads: Threads,
        *,
        refuse: Refuse,
        language: Language,
        wait_seconds: float,
    ) -> None:
        self._guard = guard
        self._registry = registry
        self._threads = threads
        self._refuse = refuse
        self._language = language
        self._wait_seconds = wait_seconds

    async def require(self, arrival: Arrival) -> None:
        """Raise NotAsAgreed if the contract of its tool objects to a file that has just come, and its user wants to know."""
        if arrival.hold_reason not in _JUDGED:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait_seconds):
                # the thread goes on if that is too long, and its verdict counts as any other
                objections, language = await self._threads.run(self._ask, arrival)
            if objections:
                raise NotAsAgreed(_sentence(objections, language))

    def _ask(self, arrival: Arrival) -> tuple[tuple[Objection, ...], Language]:
        user = self._registry.get(arrival.owner)
        refuse = self._refuse if user is None or user.refuse is None else user.refuse
        language = self._language if user is None or user.language is None else user.language
        if refuse is not Refuse.CLOSE:
            return (), language
        try:
            return self._guard.judge_now(arrival), language
        except SftpgateError as error:  # the file has been received, and is judged later: that is no failure of this request
            log.warning("contract.not_judged", arrival=arrival.id, path=arrival.path, reason=error.message)
            return (), language


def _sentence(objections: tuple[Objection, ...], language: Language) -> str:
    first = objections[0]
    more = len(objections) - 1
    said = f"{first.sentence(language)} {first.advice(language)}"
    if more:
        said += " " + phrase("({more} more: see the report.)", language, more=more)
    kept = phrase("The file was received, and is held.", language)
    return f"{said} {kept} (rule: contract)"
