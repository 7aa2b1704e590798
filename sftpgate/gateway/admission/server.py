"""The supervisor's count of all visitors, whichever worker serves them: so the limits hold for all together.

A worker that has a connection asks whether its visitor may come in, and says when it has logged in and when it is gone; the
rules are ``rules``'s. What a dead worker had is gone with it. A worker talks with strangers and may lie: it is heard only on
connections that it was given, which the supervisor sees to.

**What is exact:** who is let in, and who has to go. A visitor that has to go is counted no more from then on, and its worker ends
it as soon as it reads that. If a login comes in that very moment, the login stands: the connection counts as a user's again.

In memory of the supervisor. Nothing here blocks.
"""

from __future__ import annotations

from collections.abc import Callable

from sftpgate.gateway.admission.rules import Limits, Stage, Visitor, Visitors
from sftpgate.gateway.workers.worker_link import MessageKind, WorkerMessage

Answer = Callable[[WorkerMessage], None]


class AdmissionServer:
    """Answers what workers ask and say about their connections, by the supervisor's numbers of them."""

    def __init__(self, limits: Limits) -> None:
        self._admission = Visitors(limits)
        self._visitors: dict[int, Visitor] = {}

    def use(self, limits: Limits) -> None:
        """Have other limits from now on. If they are lower, strangers go when the next one comes, and users stay."""
        self._admission.limits = limits

    def received(self, message: WorkerMessage, answer: Answer) -> None:
        """Deal with what a worker says; ``answer`` sends it a message."""
        match message.kind:
            case MessageKind.ENTER:
                self._enter(message, answer)
            case MessageKind.PROGRESS if (visitor := self._visitors.get(message.connection)) is not None:
                for stage in Stage:
                    if stage == message.text:
                        self._admission.progressed(visitor, stage)
            case MessageKind.LOGGED_IN if (visitor := self._visitors.get(message.connection)) is not None:
                self._admission.authenticated(visitor)
            case MessageKind.CLOSED:
                self.gone(message.connection)
            case _:
                pass

    def gone(self, connection: int) -> None:
        """Forget a connection that has ended, or whose worker has."""
        if (visitor := self._visitors.pop(connection, None)) is not None:
            self._admission.leave(visitor)

    def _enter(self, message: WorkerMessage, answer: Answer) -> None:
        number = message.connection
        if number in self._visitors:
            return
        visitor = Visitor(
            message.text, lambda reason: answer(WorkerMessage(MessageKind.HANG_UP, number, reason)), named=message.named
        )
        refusal = self._admission.enter(visitor)
        if refusal is None:
            self._visitors[number] = visitor
        answer(WorkerMessage(MessageKind.ANSWER, number, refusal or ""))
