"""Requests cut out of a stream: the same ones, however the stream is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import BadMessage
from sftpgate.gateway.sftp.stream import SMALL_BYTES, RequestStream
from sftpgate.gateway.sftp.wire import MAX_PACKET_BYTES

SIZES = st.one_of(st.integers(1, 40), st.integers(SMALL_BYTES - 8, SMALL_BYTES + 8), st.integers(1, 20_000))


@pytest.mark.promise("P1")
@given(sizes=st.lists(SIZES, max_size=8), cuts=st.lists(SIZES, min_size=1, max_size=20))
def test_any_pieces_give_the_same_requests(sizes: list[int], cuts: list[int]) -> None:
    """However a stream is cut, its requests come out whole, in order, each as soon as its last byte is there; where it came
    in may be used again after ``keep``.
    """
    requests = [bytes([number]) * size for number, size in enumerate(sizes)]
    wire = b"".join(len(request).to_bytes(4, "big") + request for request in requests)
    stream, found, position = RequestStream(), [], 0
    while position < len(wire):
        size = cuts[position % len(cuts)]
        buffer = bytearray(wire[position : position + size])
        for part in _halves(memoryview(buffer)):
            stream.add(part)
            while (request := stream.next()) is not None:
                found.append(b"".join(request))
        stream.keep()
        buffer[:] = bytes(len(buffer))
        position += size
        whole = [request for end, request in zip(_ends(requests), requests, strict=True) if end <= position]
        assert found == whole


def _halves(buffer: memoryview) -> list[memoryview]:
    middle = len(buffer) // 2
    return [buffer[:middle], buffer[middle:]] if middle else [buffer]


def _ends(requests: list[bytes]) -> list[int]:
    ends, end = [], 0
    for request in requests:
        end += 4 + len(request)
        ends.append(end)
    return ends


@pytest.mark.parametrize("length", [0, MAX_PACKET_BYTES + 1, 2**32 - 1])
def test_impossible_lengths(length: int) -> None:
    """A request of no byte or of more than the limit is refused before its content comes."""
    stream = RequestStream()
    stream.add(length.to_bytes(4, "big"))
    with pytest.raises(BadMessage, match=str(length)):
        stream.next()


def test_single_bytes_are_put_together() -> None:
    """A request that comes in single bytes is kept in few pieces: each costs more memory than its bytes."""
    stream = RequestStream()
    stream.add((100_000).to_bytes(4, "big"))
    assert stream.next() is None
    for _ in range(100_000):
        stream.add(b"x")
    request = stream.next()
    assert request is not None
    assert (len(request) <= 2, len(b"".join(request))) == (True, 100_000)
