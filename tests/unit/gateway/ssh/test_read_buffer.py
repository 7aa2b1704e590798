"""One buffer for all connections: each of them gets its own bytes, whoever reads in between."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.gateway.ssh.read_buffer import LEAST_READ_BYTES, READ_BYTES, TURN_BYTES, ReadBuffer

LONGEST = 50
END = 255


class Connection:
    """What came in over one connection, of which it leaves up to LONGEST bytes for its next read."""

    def __init__(self, content: bytes) -> None:
        self.coming = deque(content)
        self.taken = b""
        self.left = b""

    def take_away(self, left: bytes) -> None:
        """Another one reads."""
        self.left = left

    def read(self, buffer: ReadBuffer, count: int, leaving: int) -> None:
        """Read ``count`` bytes, and deal with all but the last ``leaving``."""
        room = buffer.begin(self, self.left)
        came = bytes(self.coming.popleft() for _ in range(min(count, len(self.coming))))
        room[: len(came)] = came
        if not came:
            return
        view = buffer.end(len(came))
        self.left = b""
        cut = max(0, len(view) - leaving)
        self.taken += bytes(view[:cut])
        buffer.leave(view[cut:])


READS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, LONGEST)), max_size=60)


@pytest.mark.promise("P1")
@given(READS)
def test_each_connection_gets_its_own_bytes(reads: list[tuple[int, int, int]]) -> None:
    """However reads of connections are mixed, each connection deals with its own bytes, all of them, in their order."""
    contents = [bytes(range(number, 250, 3)) * 2 for number in range(3)]
    connections = [Connection(content) for content in contents]
    buffer = ReadBuffer(LONGEST)
    for number, count, leaving in reads:
        connections[number].read(buffer, count, leaving)
    for connection in connections:
        connection.coming.append(END)
        while connection.coming:
            connection.read(buffer, 100, 0)
    assert [connection.taken for connection in connections] == [content + bytes([END]) for content in contents]


@pytest.mark.promise("P1")
def test_what_a_lost_connection_left_goes_to_nobody() -> None:
    """A connection that follows another one in the buffer does not see what that one left."""
    buffer = ReadBuffer(LONGEST)
    first, second = Connection(b"first"), Connection(b"second")
    first.read(buffer, 5, leaving=5)
    buffer.release(first)
    second.read(buffer, 6, leaving=0)
    assert (second.taken, first.left) == (b"second", b"")


async def test_many_readers_share_a_turn() -> None:
    """The more connections have read in a turn of the loop, the less each may read in the next; one alone gets all again."""
    buffer = ReadBuffer(LONGEST)
    allowances = []
    for readers in (1, 8, 1000, 1):
        for _ in range(readers):
            buffer.note_reader()
        await asyncio.sleep(0)
        allowances.append(buffer.allowance)
    assert allowances == [READ_BYTES, TURN_BYTES // 8, LEAST_READ_BYTES, READ_BYTES]
