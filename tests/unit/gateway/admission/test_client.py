"""A connection's way in, where the supervisor's answer does not come as it usually does."""

from __future__ import annotations

import asyncio

from sftpgate.gateway.admission.client import AdmissionClient
from sftpgate.gateway.admission.rules import Stage, Visitor
from sftpgate.gateway.workers.worker_link import MessageKind, WorkerMessage


class World:
    """One connection's admission client; what was sent to the supervisor, and why its visitor was hung up on."""

    def __init__(self) -> None:
        self.sent: list[WorkerMessage] = []
        self.ends: list[str] = []
        self.admission_client = AdmissionClient(7, self.sent.append)

    async def ask(self, *answers: WorkerMessage) -> str | None:
        """Ask to come in; what the supervisor says is there at once."""
        asking = asyncio.ensure_future(self.admission_client.enter(Visitor("192.0.2.1", self.ends.append, named=True)))
        await asyncio.sleep(0)
        for answer in answers:
            self.admission_client.received(answer)
        return await asking


async def test_a_visitor_is_in_until_it_has_to_go() -> None:
    """The supervisor learns the address, and whom it hung up on is hung up on here."""
    world = World()
    assert await world.ask(WorkerMessage(MessageKind.ANSWER, 7)) is None
    world.admission_client.received(WorkerMessage(MessageKind.HANG_UP, 7, "too many"))
    world.admission_client.gone()
    assert world.sent == [WorkerMessage(MessageKind.ENTER, 7, "192.0.2.1", named=True), WorkerMessage(MessageKind.CLOSED, 7)]
    assert world.ends == ["too many"]


async def test_who_has_to_go_at_once_does_not_come_in() -> None:
    """An answer and the order to make room that come together are a refusal: nobody is there yet who could hang up."""
    assert (
        await World().ask(WorkerMessage(MessageKind.ANSWER, 7), WorkerMessage(MessageKind.HANG_UP, 7, "too many")) == "too many"
    )


async def test_a_user_makes_room_for_nobody() -> None:
    """Where a login and the order to make room cross, the login stands."""
    world = World()
    await world.ask(WorkerMessage(MessageKind.ANSWER, 7))
    world.admission_client.logged_in()
    world.admission_client.received(WorkerMessage(MessageKind.HANG_UP, 7, "too many"))
    assert world.ends == []
    assert world.sent[-1] == WorkerMessage(MessageKind.LOGGED_IN, 7)


async def test_steps_are_told() -> None:
    """The supervisor learns how far a visitor has come."""
    world = World()
    await world.ask(WorkerMessage(MessageKind.ANSWER, 7))
    world.admission_client.progressed(Stage.ASKS)
    assert world.sent[-1] == WorkerMessage(MessageKind.PROGRESS, 7, "asks")


async def test_without_a_supervisor_nobody_comes_in() -> None:
    """Who waits for the answer when the supervisor dies is refused, and holds up nobody's end."""
    world = World()
    asking = asyncio.ensure_future(world.ask())
    await asyncio.sleep(0)
    world.admission_client.lost()
    assert "supervisor" in str(await asking)
