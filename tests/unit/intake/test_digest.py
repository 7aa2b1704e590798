"""The running hash: whatever the order of the writes and of the hashing, it is the hash of the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.intake.digest import STEP_BYTES, Digest, sha256_of

WRITE, CUT, HASH = "write", "cut", "hash"
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just(WRITE), st.integers(0, 40), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just(CUT), st.integers(0, 60), st.just(b"")),
        st.tuples(st.just(HASH), st.just(0), st.just(b"")),
    ),
    max_size=25,
)


@pytest.fixture
def fd() -> Iterator[int]:
    """An empty file."""
    made = os.memfd_create("upload")
    yield made
    os.close(made)


@given(ACTS)
def test_the_hash_is_that_of_the_file(acts: list[tuple[str, int, bytes]]) -> None:
    """P8: writes in any order, written again, cut off and hashed in between give the hash of what is in the file."""
    file = os.memfd_create("upload")
    try:
        digest = Digest()
        for act, at, content in acts:
            if act == WRITE:
                os.pwrite(file, content, at)
                digest.written(at, at + len(content))
            elif act == CUT:
                os.ftruncate(file, at)
                digest.truncated(at)
            else:
                digest.advance(file)
        size = os.fstat(file).st_size
        assert digest.finish(file, size) == hashlib.sha256(os.pread(file, size, 0)).hexdigest()
    finally:
        os.close(file)


def test_it_keeps_up_behind_writes_in_order(fd: int) -> None:
    """Writes in order are hashed in steps behind the writer, so that little is left for CLOSE."""
    digest = Digest()
    content = os.urandom(STEP_BYTES + 100)
    os.pwrite(fd, content, 0)
    behind = []
    for start, end in ((0, 100), (100, len(content))):
        digest.written(start, end)
        behind.append(digest.is_behind)
    digest.advance(fd)
    behind.append(digest.is_behind)
    assert behind == [False, True, False]
    assert digest.finish(fd, len(content)) == hashlib.sha256(content).hexdigest()


def test_it_says_what_it_has_hashed(fd: int) -> None:
    """What follows the hash gets each range once, in order, and nothing after the end."""
    digest = Digest()
    os.pwrite(fd, b"a" * 500, 0)
    ranges: list[tuple[int, int]] = []
    for end in (200, 500):
        digest.written(0 if end == 200 else 200, end)
        digest.advance(fd, lambda start, length: ranges.append((start, length)))
    digest.end()
    digest.advance(fd, lambda start, length: ranges.append((start, length)))
    assert ranges == [(0, 200), (200, 300)]


def test_bytes_written_again_are_hashed_again(fd: int) -> None:
    """P8: what was hashed and then written again counts as it is in the end."""
    digest = Digest()
    os.pwrite(fd, b"a" * 1000, 0)
    digest.written(0, 1000)
    digest.advance(fd)
    os.pwrite(fd, b"b" * 10, 500)
    digest.written(500, 510)
    assert not digest.is_behind
    expected = b"a" * 500 + b"b" * 10 + b"a" * 490
    assert digest.finish(fd, 1000) == hashlib.sha256(expected).hexdigest()


def test_nothing_is_read_after_the_end(fd: int) -> None:
    """P1: after the end a late thread reads nothing, so the descriptor can be closed and used again."""
    digest = Digest()
    os.pwrite(fd, b"a" * STEP_BYTES, 0)
    digest.written(0, STEP_BYTES)
    digest.end()
    assert not digest.is_behind
    other = os.open("/dev/null", os.O_RDONLY)
    os.close(other)
    digest.advance(other)  # a closed descriptor: reading it would raise


def test_of_a_file(fd: int) -> None:
    """The hash of an open file, empty or not."""
    assert sha256_of(fd) == hashlib.sha256(b"").hexdigest()
    os.pwrite(fd, b"abc" * STEP_BYTES, 0)
    assert sha256_of(fd) == hashlib.sha256(b"abc" * STEP_BYTES).hexdigest()
