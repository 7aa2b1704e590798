"""A connection's way in, where the supervisor's answer does not come as it usually does."""

from __future__ import annotations

import asyncio

from sftpgate.gateway.defence import Stage, Visitor
from sftpgate.gateway.entrance import Entrance
from sftpgate.gateway.link import Kind, Message


class World:
    """One connection's entrance; what was sent to the supervisor, and why its visitor was hung up on."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.ends: list[str] = []
        self.entrance = Entrance(7, self.sent.append)

    async def ask(self, *answers: Message) -> str | None:
        """Ask to come in; what the supervisor says is there at once."""
        asking = asyncio.ensure_future(self.entrance.enter(Visitor("192.0.2.1", self.ends.append, named=True)))
        await asyncio.sleep(0)
        for answer in answers:
            self.entrance.received(answer)
        return await asking


async def test_a_visitor_is_in_until_it_has_to_go() -> None:
    """The supervisor learns the address, and whom it hung up on is hung up on here."""
    world = World()
    assert await world.ask(Message(Kind.ANSWER, 7)) is None
    world.entrance.received(Message(Kind.HANG_UP, 7, "too many"))
    world.entrance.gone()
    assert world.sent == [Message(Kind.ENTER, 7, "192.0.2.1", named=True), Message(Kind.CLOSED, 7)]
    assert world.ends == ["too many"]


async def test_who_has_to_go_at_once_does_not_come_in() -> None:
    """An answer and the order to make room that come together are a refusal: nobody is there yet who could hang up."""
    assert await World().ask(Message(Kind.ANSWER, 7), Message(Kind.HANG_UP, 7, "too many")) == "too many"


async def test_a_user_makes_room_for_nobody() -> None:
    """Where a login and the order to make room cross, the login stands."""
    world = World()
    await world.ask(Message(Kind.ANSWER, 7))
    world.entrance.logged_in()
    world.entrance.received(Message(Kind.HANG_UP, 7, "too many"))
    assert world.ends == []
    assert world.sent[-1] == Message(Kind.LOGGED_IN, 7)


async def test_steps_are_told() -> None:
    """The supervisor learns how far a visitor has come."""
    world = World()
    await world.ask(Message(Kind.ANSWER, 7))
    world.entrance.progressed(Stage.ASKS)
    assert world.sent[-1] == Message(Kind.PROGRESS, 7, "asks")


async def test_without_a_supervisor_nobody_comes_in() -> None:
    """Who waits for the answer when the supervisor dies is refused, and holds up nobody's end."""
    world = World()
    asking = asyncio.ensure_future(world.ask())
    await asyncio.sleep(0)
    world.entrance.lost()
    assert "supervisor" in str(await asking)
