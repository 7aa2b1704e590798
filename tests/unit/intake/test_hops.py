"""Functions in threads, and the ways back from them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sftpgate.intake.hops import Hops


@pytest.fixture
def hops() -> Iterator[Hops]:
    """Two threads."""
    made = Hops(2, "test")
    yield made
    made.close()


async def test_results_and_errors_come_back(hops: Hops) -> None:
    """What the function returns or raises is the caller's; it ran in another thread."""
    assert await hops.run(divmod, 7, 2) == (3, 1)
    assert await hops.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await hops.run(divmod, 7, 0)


async def test_a_cancelled_caller_waits_for_its_function(hops: Hops) -> None:
    """A cancellation is raised when the function is done: it falls before or after a commit, and never inside."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(30)
        done.set()

    caller = asyncio.create_task(hops.run(work))
    assert await hops.run(begun.wait, 30)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done.is_set()


async def test_a_failure_that_nobody_waits_for_is_said(hops: Hops) -> None:
    """Where the caller was cancelled, what its function raises goes to the loop's handler of exceptions."""
    begun, go_on = threading.Event(), threading.Event()
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))

    def work() -> None:
        begun.set()
        assert go_on.wait(30)
        raise ValueError("nobody waits")

    caller = asyncio.create_task(hops.run(work))
    assert await hops.run(begun.wait, 30)
    caller.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [str(error) for error in said] == ["nobody waits"]


async def test_a_begun_function_goes_on_alone(hops: Hops) -> None:
    """``begin`` gives a future of the result."""
    assert await hops.begin(divmod, 7, 2) == (3, 1)
