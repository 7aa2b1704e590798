"""The running hash: whatever the order of the writes, it is the hash of the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.store.digest import Digest, sha256_of

WRITE, CUT, FINISH = "write", "cut", "finish"
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just(WRITE), st.integers(0, 40), st.lists(st.binary(max_size=20), min_size=1, max_size=3)),
        st.tuples(st.just(CUT), st.integers(0, 60), st.just([b""])),
        st.tuples(st.just(FINISH), st.just(0), st.just([b""])),
    ),
    max_size=25,
)
NO_FILE = -1  # reading it would raise


@pytest.fixture
def fd() -> Iterator[int]:
    """An empty file."""
    made = os.memfd_create("upload")
    yield made
    os.close(made)


@pytest.mark.promise("P8")
@given(ACTS)
def test_the_hash_is_that_of_the_file(acts: list[tuple[str, int, list[bytes]]]) -> None:
    """Writes in any order and in any pieces, written again, cut off and asked for in between give the hash of what is in the
    file.
    """
    file = os.memfd_create("upload")
    try:
        digest = Digest()
        for act, at, pieces in [*acts, (FINISH, 0, [b""])]:
            if act == WRITE:
                os.pwritev(file, pieces, at)
                digest.written(at, pieces)
            elif act == CUT:
                os.ftruncate(file, at)
                digest.truncated(at)
            else:
                size = os.fstat(file).st_size
                assert digest.finish(file, size) == hashlib.sha256(os.pread(file, size, 0)).hexdigest()
    finally:
        os.close(file)


def test_writes_in_order_are_not_read_back() -> None:
    """Writes in order are hashed as they come, so that nothing is left for CLOSE."""
    digest = Digest()
    digest.written(0, [b"abc", memoryview(b"def")])
    digest.written(6, [b"ghi"])
    assert digest.finish(NO_FILE, 9) == hashlib.sha256(b"abcdefghi").hexdigest()


@pytest.mark.promise("P8")
def test_bytes_written_again_are_hashed_again(fd: int) -> None:
    """What was hashed and then written again counts as it is in the end."""
    digest = Digest()
    os.pwrite(fd, b"a" * 490 + b"b" * 10 + b"a" * 500, 0)
    digest.written(0, [b"a" * 1000])
    digest.written(490, [b"b" * 10])
    expected = b"a" * 490 + b"b" * 10 + b"a" * 500
    assert digest.finish(fd, 1000) == hashlib.sha256(expected).hexdigest()


def test_of_a_file(fd: int) -> None:
    """The hash of an open file, empty or not."""
    assert sha256_of(fd) == hashlib.sha256(b"").hexdigest()
    os.pwrite(fd, b"abc" * 1_000_000, 0)
    assert sha256_of(fd) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
