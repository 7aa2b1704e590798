"""The supervisor, with processes that behave as bad workers do."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from sftpgate.gateway.admission.rules import Limits
from sftpgate.gateway.workers import supervisor as module
from sftpgate.gateway.workers.listening import bind
from sftpgate.gateway.workers.supervisor import Start, Supervisor, SupervisorPlan, WorkerFailed
from sftpgate.gateway.workers.worker_link import MessageKind, WorkerMessage

READY = repr(WorkerMessage(MessageKind.READY).encode())
# a worker that answers each connection with its number, and ends when its link does
GOOD = f"""
import socket, sys
link = socket.socket(fileno=int(sys.argv[1]))
link.send({READY})
while True:
    raw, fds, _, _ = socket.recv_fds(link, 4096, 1)
    if not raw or b"stop" in raw or b"retire" in raw:
        break
    for fd in fds:
        with socket.socket(fileno=fd) as client:
            client.send(sys.argv[2].encode())
"""
# a worker that asks for a connection that it does not have, then for its own, and passes on the first answer
LIAR = f"""
import json, socket, sys
link = socket.socket(fileno=int(sys.argv[1]))
link.send({READY})
raw, [fd], _, _ = socket.recv_fds(link, 4096, 1)
number = json.loads(raw)[1]
for asked in (number + 1, number):
    link.send(json.dumps(["enter", asked, "192.0.2.1", False]).encode())
socket.socket(fileno=fd).send(link.recv(4096))
link.recv(4096)
"""
# one that says, when it has a client, that its sandbox does not fit any more, and says it again when it is replaced
STALE = f"""
import socket, sys
link = socket.socket(fileno=int(sys.argv[1]))
link.send({READY})
said = False
while True:
    raw, fds, _, _ = socket.recv_fds(link, 4096, 1)
    if not said or b"retire" in raw:
        said = True
        link.send({WorkerMessage(MessageKind.SANDBOX_STALE).encode()!r})
    if not raw or b"stop" in raw or b"retire" in raw:
        break
    for fd in fds:
        socket.socket(fileno=fd).close()
"""
DEAD = "import sys; sys.exit(3)"
SILENT = f"""
import socket, sys
link = socket.socket(fileno=int(sys.argv[1]))
link.send({READY})
while link.recv(4096):
    pass
"""


class Launches:
    """Starts the n-th process with the n-th program; the last one for all that follow."""

    def __init__(self, *programs: str) -> None:
        self._programs = list(programs)
        self.starts: list[Start] = []
        self.started = asyncio.Condition()

    async def __call__(self, start: Start, link: socket.socket) -> asyncio.subprocess.Process:
        """Start one."""
        self.starts.append(start)
        program = self._programs[min(len(self.starts), len(self._programs)) - 1]
        words = [sys.executable, "-c", program, str(link.fileno()), str(start.number)]
        process = await asyncio.create_subprocess_exec(*words, pass_fds=[link.fileno()])
        async with self.started:
            self.started.notify_all()
        return process

    async def until(self, count: int) -> None:
        """Wait for so many starts."""
        async with asyncio.timeout(20), self.started:
            await self.started.wait_for(lambda: len(self.starts) >= count)


def plan(workers: int) -> SupervisorPlan:
    """What the settings ask for, with limits that are not reached."""
    limits = Limits(max_connections=100, max_unauthenticated=100, max_unauthenticated_per_address=100)
    return SupervisorPlan(workers=workers, limits=limits)


@asynccontextmanager
async def running(launches: Launches, count: int = 1) -> AsyncIterator[Supervisor]:
    """A supervisor that serves."""
    supervisor = Supervisor(launches, bind("127.0.0.1", 0), plan(count), stop_seconds=5)
    serving = asyncio.Event()
    run = asyncio.create_task(supervisor.run(serving.set))
    async with asyncio.timeout(20):
        await serving.wait()
        yield supervisor
        supervisor.stop()
        await run


async def answer(supervisor: Supervisor) -> str:
    """Which worker serves a client."""
    reader, writer = await asyncio.open_connection(*supervisor.address)
    found = await reader.read(10)
    writer.close()
    return found.decode()


async def test_the_first_worker_recovers_and_is_the_chief() -> None:
    """One worker recovers, before the others are started; it is the leader."""
    launches = Launches(GOOD)
    async with running(launches, count=3):
        await launches.until(3)
    assert [(start.leader, start.recovering) for start in launches.starts] == [(True, True), (False, False), (False, False)]


async def test_a_first_worker_that_dies_is_the_end() -> None:
    """Where no worker comes up at the start, ``run`` says with which status the first one ended."""
    supervisor = Supervisor(Launches(DEAD), bind("127.0.0.1", 0), plan(2), stop_seconds=5)
    with pytest.raises(WorkerFailed) as caught:
        await supervisor.run(lambda: None)
    assert caught.value.code == 3


async def test_a_client_waits_for_the_successor_of_a_dead_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that comes while no worker is there is served by the next one, however often it dies before."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    ready_then_dead = f"import socket, sys; socket.socket(fileno=int(sys.argv[1])).send({READY}); sys.exit(4)"
    launches = Launches(ready_then_dead, DEAD, DEAD, GOOD)
    with capture_logs() as lines:
        async with running(launches) as supervisor:
            await launches.until(2)
            assert await answer(supervisor) == "4"
    assert [line["status"] for line in lines if line["event"] == "worker.died"] == [4, 3, 3]
    assert launches.starts[3] == Start(number=4, leader=True, recovering=False)


async def test_a_hung_worker_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that says nothing for too long is taken for hung."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.2)
    launches = Launches(SILENT, GOOD)
    with capture_logs() as lines:
        async with running(launches) as supervisor:
            await launches.until(2)
            monkeypatch.setattr(module, "SILENCE_SECONDS", 60.0)
            assert await answer(supervisor) == "2"
    assert "worker.hung" in [line["event"] for line in lines]


async def test_a_reload_that_fails_leaves_the_workers() -> None:
    """Where the new worker does not come up, the old ones go on."""
    launches = Launches(GOOD, DEAD)
    with capture_logs() as lines:
        async with running(launches) as supervisor:
            supervisor.reload(plan(1))
            await launches.until(2)
            while not any(line["event"] == "reload.failed" for line in lines):
                assert await answer(supervisor) == "1"
            assert await answer(supervisor) == "1"


async def test_a_worker_is_heard_on_its_own_connections_only() -> None:
    """A worker that is in somebody's hands cannot say anything of the other workers' clients."""
    async with running(Launches(LIAR)) as supervisor:
        reader, writer = await asyncio.open_connection(*supervisor.address)
        assert WorkerMessage.decode(await reader.read(4096)) == WorkerMessage(MessageKind.ANSWER, 1)
        writer.close()


async def test_a_worker_that_has_stale_sandbox_its_sandbox() -> None:
    """Where a worker says that only a new process can reach what it should, all are replaced, once."""
    launches = Launches(STALE, GOOD)
    with capture_logs() as lines:
        async with running(launches) as supervisor:
            supervisor.sandbox_stale = lambda: supervisor.reload(plan(1))
            assert await answer(supervisor) == ""
            await launches.until(2)
            while await answer(supervisor) != "2":
                pass
    assert len(launches.starts) == 2
    assert [line["workers"] for line in lines if line["event"] == "reload.done"] == [1]


async def test_a_worker_that_does_not_stop_is_killed() -> None:
    """A stop is bounded."""
    supervisor = Supervisor(Launches(SILENT), bind("127.0.0.1", 0), plan(1), stop_seconds=0.2)
    with capture_logs() as lines:
        async with asyncio.timeout(20):
            await supervisor.run(supervisor.stop)
    assert [line["reason"] for line in lines if line["event"] == "worker.killed"] == ["it did not stop in time"]
