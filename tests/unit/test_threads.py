"""Functions in threads, and the ways back from them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from sftpgate.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    """Two threads."""
    made = Threads(2, "test")
    yield made
    made.close()


async def test_results_and_errors_come_back(threads: Threads) -> None:
    """What the function returns or raises is the caller's; it ran in another thread."""
    assert await threads.run(divmod, 7, 2) == (3, 1)
    assert await threads.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


async def test_a_cancelled_caller_waits_for_its_function(threads: Threads) -> None:
    """A cancellation is raised when the function is done: it falls before or after a commit, and never inside."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(30)
        done.set()

    caller = asyncio.create_task(threads.run(work))
    assert await threads.run(begun.wait, 30)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done.is_set()


async def test_a_failure_that_nobody_waits_for_is_said(threads: Threads) -> None:
    """Where the caller was cancelled, what its function raises goes to the loop's handler of exceptions."""
    begun, go_on = threading.Event(), threading.Event()
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))

    def work() -> None:
        begun.set()
        assert go_on.wait(30)
        raise ValueError("nobody waits")

    caller = asyncio.create_task(threads.run(work))
    assert await threads.run(begun.wait, 30)
    caller.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [str(error) for error in said] == ["nobody waits"]


async def test_a_begun_function_goes_on_alone(threads: Threads) -> None:
    """``begin`` gives a future of the result."""
    assert await threads.begin(divmod, 7, 2) == (3, 1)


async def test_the_thread_that_worked_last_works_next(threads: Threads) -> None:
    """One call after the other is made in one thread; two at a time in two."""
    first = await threads.run(threading.get_ident)
    assert [await threads.run(threading.get_ident) for _ in range(5)] == [first] * 5
    meeting = threading.Barrier(2, timeout=30)
    await asyncio.gather(threads.run(meeting.wait), threads.run(meeting.wait))


async def test_more_than_there_are_threads_wait_in_line(threads: Threads) -> None:
    """What has no thread yet is done by the first one that is free, and before the threads end."""
    begun, go_on, done = [threading.Event(), threading.Event()], threading.Event(), []

    def hold(event: threading.Event) -> None:
        event.set()
        assert go_on.wait(30)

    held = [threads.begin(hold, event) for event in begun]
    for event in begun:
        assert await asyncio.to_thread(event.wait, 30)
    for number in range(5):
        threads.start(lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == []
    go_on.set()
    threads.close()
    assert sorted(done) == list(range(5))
    await asyncio.gather(*held)


async def test_few_work_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one works, and is not slow, the next one waits for it, though there are threads."""
    monkeypatch.setattr("sftpgate.threads.SLOW_SECONDS", 1000.0)
    threads = Threads(3, "test", at_once=1)
    begun, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def work() -> None:
        begun.set()
        assert go_on.wait(30)
        order.append("first")

    first = threads.begin(work)
    assert await asyncio.to_thread(begun.wait, 30)
    others = [threads.begin(order.append, name) for name in ("second", "third")]
    go_on.set()
    await asyncio.gather(first, *others)
    assert order == ["first", "second", "third"]
    threads.close()


async def test_who_is_slow_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are let in beside those that wait for a disk, as long as there are threads; the rest is done when one is free."""
    monkeypatch.setattr("sftpgate.threads.SLOW_SECONDS", 0.001)
    threads = Threads(3, "test", at_once=1)
    meeting, go_on = threading.Barrier(4, timeout=30), threading.Event()

    def wait_for_disk() -> None:
        meeting.wait()
        assert go_on.wait(30)

    slow = [threads.begin(wait_for_disk) for _ in range(3)]
    await asyncio.to_thread(meeting.wait)
    last = threads.begin(divmod, 7, 2)
    go_on.set()
    await asyncio.gather(*slow)
    assert await last == (3, 1)
    threads.close()


async def test_what_waits_is_done_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that is closed does what waits in line, with as few threads."""
    monkeypatch.setattr("sftpgate.threads.SLOW_SECONDS", 1000.0)
    threads = Threads(3, "test", at_once=1)
    done: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(30)

    first = threads.begin(work)
    assert await asyncio.to_thread(begun.wait, 30)
    for number in range(4):
        threads.start(lambda number=number: done.append(number))  # type: ignore[misc]
    go_on.set()
    threads.close()
    assert done == list(range(4))
    await first


async def test_what_fails_alone_is_logged_and_the_thread_goes_on() -> None:
    """A job that nobody waits for takes no thread with it."""
    threads = Threads(1, "test")
    with capture_logs() as said:
        threads.start(lambda: 1 / 0)
        assert await threads.run(divmod, 7, 2) == (3, 1)
    assert [line["event"] for line in said] == ["thread.failed"]
    threads.close()


def test_nothing_is_begun_after_the_end() -> None:
    """A pool that was closed says so; closing it again does nothing."""
    threads = Threads(1, "test")
    threads.close()
    threads.close()
    with pytest.raises(RuntimeError):
        threads.start(lambda: None)
