"""A worker's side of admission: one connection's line to the supervisor, which counts the visitors of all workers.

If the supervisor does not answer, nobody comes in: it is gone then, and so will the worker be, or it hangs, and nobody
knows how many there are. Nothing here blocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sftpgate.gateway.admission.rules import Stage, Visitor
from sftpgate.gateway.workers.worker_link import MessageKind, WorkerMessage

ANSWER_SECONDS = 10.0  # far above what a supervisor needs that is at work at all
_NO_ANSWER = "the supervisor does not answer"


class AdmissionClient:
    """The way in of one connection, which has the supervisor's ``number``."""

    def __init__(self, number: int, send: Callable[[WorkerMessage], None]) -> None:
        self._number = number
        self._send = send
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._visitor: Visitor | None = None  # that is in, and has not logged in
        self._sent_away = ""

    async def enter(self, visitor: Visitor) -> str | None:
        """Ask whether the visitor may come in; the reason if it may not. It is hung up on if it has to make room."""
        self._send(WorkerMessage(MessageKind.ENTER, self._number, visitor.address, visitor.named))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                refusal = await self._answer or self._sent_away
        except TimeoutError:
            refusal = _NO_ANSWER
        if refusal:
            return refusal
        self._visitor = visitor
        return None

    def progressed(self, stage: Stage) -> None:
        """Tell the supervisor that the visitor has made a step towards its login."""
        self._send(WorkerMessage(MessageKind.PROGRESS, self._number, stage))

    def logged_in(self) -> None:
        """Tell the supervisor that the visitor has logged in: it makes room for nobody any more."""
        self._visitor = None
        self._send(WorkerMessage(MessageKind.LOGGED_IN, self._number))

    def gone(self) -> None:
        """Tell the supervisor that the connection has ended. Called once, however far it came."""
        self._visitor = None
        self._send(WorkerMessage(MessageKind.CLOSED, self._number))

    def received(self, message: WorkerMessage) -> None:
        """Take what the supervisor says of this connection."""
        if message.kind is MessageKind.ANSWER and not self._answer.done():
            self._answer.set_result(message.text)
        elif message.kind is MessageKind.HANG_UP and self._visitor is not None:
            self._visitor.hang_up(message.text)
        elif message.kind is MessageKind.HANG_UP:  # it was let in a moment ago, and does not know yet; or it has logged in
            self._sent_away = message.text

    def lost(self) -> None:
        """Let nobody in any more: the supervisor is gone."""
        if not self._answer.done():
            self._answer.set_result(_NO_ANSWER)
