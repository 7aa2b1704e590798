"""The supervisor: owns the port, and hands each connection to the worker process that has the fewest.

Guarantees: a connection that the kernel has accepted is served by some worker, also while workers die or are replaced;
a worker that dies or hangs is replaced, with a growing pause if it dies again and again; a reload starts new
workers first, gives them the new connections, and lets the old ones end with their last client; one stop ends
everything; the limits of admission hold for all workers together (``admission.server``), old and new ones. One worker, the
*leader*, also sweeps. The supervisor itself serves nobody, knows no SSH, and touches no file: there is little in it that
can fail.

A killed supervisor leaves workers that notice the end of their link, let uploads in flight finish, and end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from sftpgate.errors import ExitCode, SftpgateError, only_error
from sftpgate.gateway.admission.rules import Limits
from sftpgate.gateway.admission.server import AdmissionServer
from sftpgate.gateway.workers.listening import Acceptor
from sftpgate.gateway.workers.worker_link import MessageKind, WorkerLink, WorkerMessage
from sftpgate.logs import get_logger

log = get_logger("supervisor")

HEARTBEAT_SECONDS = 5.0  # how often a worker says that its event loop turns
SILENCE_SECONDS = 60.0  # a worker that says nothing for so long is hung: killed, and replaced
FIRST_PAUSE_SECONDS = 0.5  # before a worker that died is replaced, doubled each time that it dies at once
LAST_PAUSE_SECONDS = 30.0
LIVED_SECONDS = 60.0  # a worker that served for so long died of something new: no growing pause


class WorkerFailed(SftpgateError):
    """A worker process ended before it was ready; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the worker process ended with status {code} before it was ready; its own message says why")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPlan:
    """What the settings ask of a supervisor. ``limits``: of admission, of all workers together."""

    workers: int
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a worker is started. ``recovering``: nobody else serves yet, so it puts right what a crash left."""

    number: int
    leader: bool
    recovering: bool


Launch = Callable[[Start, socket.socket], Awaitable[asyncio.subprocess.Process]]


@dataclass(slots=True, eq=False)
class Worker:
    """One worker process."""

    start: Start
    process: asyncio.subprocess.Process
    started_at: float
    link: WorkerLink | None = None
    connections: set[int] = field(default_factory=set)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    heard_at: float = 0.0
    on_trial: bool = False  # somebody waits for it to come up, and decides what to do if it does not
    retiring: bool = False
    has_stale_sandbox: bool = False

    def tell(self, message: WorkerMessage) -> None:
        """Send a message that carries nothing."""
        if self.link is not None:
            self.link.send(message)


class Supervisor:
    """Runs workers behind ``listeners``. ``launch`` starts a process that has the other end of a link."""

    def __init__(self, launch: Launch, listeners: Sequence[socket.socket], plan: SupervisorPlan, *, stop_seconds: float) -> None:
        self._launch = launch
        self._plan = plan
        self._admission_server = AdmissionServer(plan.limits)
        self._stop_seconds = stop_seconds
        self._acceptor = Acceptor(listeners, self._hand_out)
        self._workers: list[Worker] = []
        self._numbers = itertools.count(1)
        self._connections = itertools.count(1)
        self._waiting: list[socket.socket] = []  # accepted while no worker was ready
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._stopping = asyncio.Event()
        self._reloads: asyncio.Queue[SupervisorPlan] = asyncio.Queue(1)
        self._tasks: asyncio.TaskGroup
        self.sandbox_stale: Callable[[], None] = lambda: None  # called if a worker asks for others, because of its sandbox

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._acceptor.address

    def stop(self) -> None:
        """Ask ``run`` to end; may be called again."""
        self._stopping.set()

    def reload(self, plan: SupervisorPlan) -> None:
        """Replace all workers by new ones, which read their settings anew. One more while one is under way is done after it; of
        several more, the last.
        """
        if self._reloads.full():
            self._reloads.get_nowait()
        self._reloads.put_nowait(plan)

    async def run(self, announce: Callable[[], None]) -> None:
        """Serve until ``stop``. ``announce`` is called when connections are accepted. Raises WorkerFailed if the first
        worker does not come up.
        """
        try:
            async with asyncio.TaskGroup() as self._tasks:
                try:
                    await self._begin()
                    self._acceptor.start()
                    announce()
                    rounds = [self._tasks.create_task(self._watch_silence()), self._tasks.create_task(self._reload_on_request())]
                    await self._stopping.wait()
                    for task in rounds:
                        task.cancel()
                finally:
                    self._stopping.set()
                    self._acceptor.close()
                    await self._end()
        except BaseExceptionGroup as group:
            raise only_error(group, WorkerFailed) from None

    async def _begin(self) -> None:
        """Start the first worker alone, because it recovers; then the others."""
        await self._come_up(await self._start(leader=True, recovering=True, on_trial=True))
        for _ in range(self._plan.workers - 1):
            await self._start()

    async def _come_up(self, worker: Worker) -> None:
        """Wait until a worker is ready. Raises WorkerFailed if it ends first."""
        ready, ended = asyncio.ensure_future(worker.ready.wait()), asyncio.ensure_future(worker.process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([ready, ended, stopping], return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and not stopping.done():
                raise WorkerFailed(ended.result())
        finally:
            for waiting in (ready, ended, stopping):
                waiting.cancel()

    # -- workers -----------------------------------------------------------------------------------------------------

    async def _start(self, *, leader: bool = False, recovering: bool = False, on_trial: bool = False) -> Worker:
        ours, theirs = WorkerLink.pair()
        start = Start(number=next(self._numbers), leader=leader, recovering=recovering)
        loop = asyncio.get_running_loop()
        with theirs:
            process = await self._launch(start, theirs)
        worker = Worker(start, process, loop.time(), heard_at=loop.time(), on_trial=on_trial)
        worker.link = WorkerLink(ours, lambda message, carried: self._received(worker, message, carried), lambda: None)
        self._workers.append(worker)
        self._tasks.create_task(self._look_after(worker))
        return worker

    async def _look_after(self, worker: Worker) -> None:
        """Wait for the end of a worker, and replace it if it was not meant to end."""
        code = await worker.process.wait()
        if worker.link is not None:
            worker.link.close()
        self._workers.remove(worker)
        for connection in worker.connections:
            self._admission_server.gone(connection)
        if worker.retiring or self._stopping.is_set():
            log.info("worker.ended", worker=worker.start.number, status=code)
            return
        if worker.on_trial and not worker.ready.is_set():
            return
        log.error("worker.died", worker=worker.start.number, status=code, connections=len(worker.connections))
        await self._replace(worker)

    async def _replace(self, worker: Worker) -> None:
        """Start another worker in place of one that died, later each time if they die at once."""
        lived_seconds = asyncio.get_running_loop().time() - worker.started_at
        if lived_seconds >= LIVED_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        else:
            await self._pause()
        while not self._stopping.is_set():
            try:
                await self._start(leader=worker.start.leader)
            except OSError as error:  # no process or no memory to be had at the moment
                log.error("worker.not_started", reason=error.strerror)
                await self._pause()
            else:
                return

    async def _pause(self) -> None:
        seconds = self._pause_seconds
        self._pause_seconds = min(seconds * 2, LAST_PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _received(self, worker: Worker, message: WorkerMessage, carried: socket.socket | None) -> None:
        if carried is not None:
            carried.close()
        worker.heard_at = asyncio.get_running_loop().time()
        match message.kind:
            case MessageKind.READY:
                worker.ready.set()
                log.info("worker.ready", worker=worker.start.number, pid=worker.process.pid, leader=worker.start.leader)
                self._hand_out_waiting()
            case MessageKind.ENTER | MessageKind.PROGRESS | MessageKind.LOGGED_IN | MessageKind.CLOSED if (
                message.connection in worker.connections
            ):
                self._admission_server.received(message, worker.tell)
                if message.kind is MessageKind.CLOSED:
                    worker.connections.remove(message.connection)
            case MessageKind.SANDBOX_STALE if not (worker.retiring or worker.has_stale_sandbox):
                worker.has_stale_sandbox = True  # heard once: one that is in somebody's hands must not keep us reloading
                self.sandbox_stale()
            case _:
                pass

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for worker in self._workers:
                silence = loop.time() - worker.heard_at
                if worker.ready.is_set() and silence > SILENCE_SECONDS:
                    log.error("worker.hung", worker=worker.start.number, silent_seconds=round(silence))
                    worker.heard_at = loop.time()
                    worker.process.kill()

    # -- connections -------------------------------------------------------------------------------------------------

    def _hand_out(self, connection: socket.socket) -> None:
        ready = [worker for worker in self._workers if worker.ready.is_set() and not worker.retiring]
        if not ready:
            self._waiting.append(connection)
            return
        worker = min(ready, key=lambda one: len(one.connections))
        number = next(self._connections)
        worker.connections.add(number)
        assert worker.link is not None
        worker.link.send(WorkerMessage(MessageKind.CONNECTION, number), connection)

    def _hand_out_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            self._hand_out(connection)

    # -- reload and end ----------------------------------------------------------------------------------------------

    async def _reload_on_request(self) -> None:
        while True:
            await self._reload(await self._reloads.get())

    async def _reload(self, plan: SupervisorPlan) -> None:
        """Start new workers first; the old ones take no more as soon as a new one is ready."""
        old = [worker for worker in self._workers if not worker.retiring]
        first = await self._start(leader=True, on_trial=True)
        try:
            await self._come_up(first)
        except WorkerFailed as error:
            log.error("reload.failed", status=error.code, serving=len(old))
            return
        self._plan = plan
        self._admission_server.use(plan.limits)
        for worker in old:
            worker.retiring = True
            worker.tell(WorkerMessage(MessageKind.RETIRE))
        for _ in range(plan.workers - 1):
            await self._start()
        log.info("reload.done", workers=plan.workers, retiring=len(old))

    async def _end(self) -> None:
        """Tell every worker to stop, and kill those that do not."""
        for connection in self._waiting:
            connection.close()
        workers = list(self._workers)
        for worker in workers:
            worker.tell(WorkerMessage(MessageKind.STOP))
        ends = [asyncio.ensure_future(worker.process.wait()) for worker in workers]
        if ends:
            _, late = await asyncio.wait(ends, timeout=self._stop_seconds)
            for worker, end in zip(workers, ends, strict=True):
                if end in late:
                    log.error("worker.killed", worker=worker.start.number, reason="it did not stop in time")
                    worker.process.kill()
            await asyncio.wait(ends)


def exit_code(error: WorkerFailed) -> int:
    """Return the exit status of a supervisor whose first worker did not come up: the worker's, if that says something."""
    return error.code if error.code > 0 else ExitCode.FAILED
