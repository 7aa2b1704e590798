"""While somebody has the store's lock and does not give it back, who only looks is answered."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from sftpgate.app.serving.worker_process import REQUEST_THREADS
from sftpgate.gateway.sftp.status import Status
from sftpgate.gateway.sftp.wire import Reply, Request
from tests.harness.gates import Gate
from tests.harness.raw import string


@contextmanager
def lock_of(gate: Gate) -> Iterator[None]:
    """Hold the store's lock, as a process that was stopped does."""
    with open(gate.store / ".sftpgate/lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.promise("P5")
async def test_looking_goes_on(gate: Gate) -> None:
    """With more changes waiting for the store's lock than there are threads, others look, list and log in; when the lock is
    back, the changes are made.
    """
    names = [f"f{number}.csv" for number in range(REQUEST_THREADS + 2)]
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(gate.raw("other"))
        erp = [await stack.enter_async_context(gate.raw()) for _ in names]
        for name in names:
            assert await erp[0].put(name, b"x\n") == Status.OK
        with lock_of(gate):
            for raw, name in zip(erp, names, strict=True):
                raw.send(Request.REMOVE, string(name))
            assert (await other.on(Request.STAT, ".")).kind == Reply.ATTRS
            assert await other.listing("/archives") == []
            async with gate.raw("other") as another:
                assert await another.listing(".") == []
            assert set(gate.in_store()) == set(names)
        assert [(await raw.answer()).status for raw in erp] == [Status.OK] * len(names)
        assert await erp[0].listing(".") == []
