"""A real gate on a free port, in the event loop of the test, with the users ``erp`` and ``other``.

It is what a worker process runs, on a link to the supervisor's admission server, and is stopped by SIGTERM. With ``--confined``
it is in a process of its own, which the kernel keeps to its directories (``apart``). An exception that nobody foresaw
(``request.failed`` with a traceback, ``task.failed``) fails the test that caused it, whatever else the test looks at.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import asyncssh
import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict, WrappedLogger

from sftpgate.app.serving.supervisor_process import plan_of, stop_at_signals
from sftpgate.app.serving.worker_process import Running
from sftpgate.gateway.admission.server import AdmissionServer
from sftpgate.gateway.workers.listening import Acceptor, bind
from sftpgate.gateway.workers.worker import work
from sftpgate.gateway.workers.worker_link import MessageKind, WorkerLink, WorkerMessage
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.settings.tree import Settings
from sftpgate.users.host_keys.files import ensure_host_keys
from sftpgate.users.keys.authorized import parse_public_key
from sftpgate.users.registry import UserRegistry
from tests.harness.raw import WAIT_SECONDS, Raw

USERS = ("erp", "other")
HOMES = {"homed": "house", "neighbour": "house"}  # users that see a directory of the drop only


def make_keys(directory: Path) -> None:
    """Host keys, users, and the one client key ``id`` that all of them log in with. Made once, copied for each gate.

    The RSA key is a small one: the libraries check a key when they load it, and a large one costs more than a test.
    """
    (directory / "host").mkdir()
    asyncssh.generate_private_key("ssh-rsa", key_size=1024).write_private_key(str(directory / "host/ssh_host_rsa_key"))
    (directory / "host/ssh_host_rsa_key").chmod(0o600)
    ensure_host_keys(directory)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(directory / "id"))
    public = parse_public_key(key.export_public_key().decode())
    registry = UserRegistry(directory)
    for user in USERS:
        registry.add(user, keys=[public])
    for user, home in HOMES.items():
        registry.add(user, keys=[public], home=home)


class Log(LogCapture):
    """Everything that the gate logs, as data."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.news = asyncio.Event()

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> NoReturn:
        """Keep a line; it goes no further."""
        try:
            super().__call__(logger, method_name, event_dict)
        finally:
            self._loop.call_soon_threadsafe(self.news.set)

    def catch_up(self) -> None:
        """Take what was logged, where that comes from another process."""

    def events(self, name: str) -> list[EventDict]:
        """The lines of one event."""
        self.catch_up()
        return [line for line in self.entries if line["event"] == name]

    @property
    def unforeseen(self) -> list[EventDict]:
        """Failures that were exceptions of Python's, and not answers of ours."""
        return [line for line in self.events("request.failed") + self.events("task.failed") if "exc_info" in line]


@contextmanager
def _captured() -> Iterator[Log]:
    before = structlog.get_config()["processors"]
    log = Log()
    structlog.configure(processors=[log])
    try:
        yield log
    finally:
        structlog.configure(processors=before)


@dataclass
class Gate:
    """A running gate, and what is on its disk and in its ledger."""

    directory: Path
    port: int
    log: Log
    stop: Callable[[], None]  # as SIGTERM does

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def drop(self) -> Path:
        """The drop on disk."""
        return self.data / "sync"

    @property
    def store(self) -> Path:
        """The store on disk."""
        return self.data / "store"

    # -- clients -----------------------------------------------------------------------------------------------------

    async def connect(self, user: str = "erp", **options: Any) -> asyncssh.SSHClientConnection:
        """A connection, logged in."""
        return await asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=user,
            client_keys=[str(self.directory / "keys/id")],
            known_hosts=None,
            config=None,
            agent_path=None,
            # the quickest that the server offers: the tests make hundreds of connections
            **({"kex_algs": ["curve25519-sha256"]} | options),
        )

    @asynccontextmanager
    async def connection(self, user: str = "erp", **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """The same, closed in order at the end."""
        connection = await self.connect(user, **options)
        try:
            yield connection
        finally:
            connection.close()
            async with asyncio.timeout(WAIT_SECONDS):
                await connection.wait_closed()

    @asynccontextmanager
    async def sftp(self, user: str = "erp", version: int = 3) -> AsyncIterator[asyncssh.SFTPClient]:
        """asyncssh's own client."""
        async with self.connection(user) as connection, connection.start_sftp_client(sftp_version=version) as client:
            yield client

    @asynccontextmanager
    async def raw(self, user: str = "erp", version: int = 3) -> AsyncIterator[Raw]:
        """A session of packets made by hand, after INIT."""
        async with self.connection(user) as connection:
            raw = await Raw.open(connection)
            await raw.begin(version)
            yield raw

    # -- what became of files ----------------------------------------------------------------------------------------

    @contextmanager
    def ledger(self) -> Iterator[Connection]:
        """The ledger, for reading."""
        ledger = Ledger(f"sqlite:///{self.data / 'ledger.db'}")
        try:
            with ledger.reading() as connection:
                yield connection
        finally:
            ledger.close()

    def arrivals(self, path: str) -> list[Arrival]:
        """The records of a path, in order of arrival."""
        with self.ledger() as connection:
            return arrivals.find(connection, paths=[path])

    def history(self, arrival: Arrival) -> list[Event]:
        """Everything that happened to an arrival."""
        with self.ledger() as connection:
            return event_log.history(connection, arrival.id)

    def in_store(self) -> dict[str, bytes]:
        """What runners would find, by path."""
        return _files(self.store, ("archives", "reports", ".sftpgate"))

    def in_drop(self) -> dict[str, bytes]:
        """What lies in the drop, by path."""
        return _files(self.drop, (".sftpgate",))

    def archived(self) -> list[bytes]:
        """The contents of the archives, in order of their names."""
        return [file.read_bytes() for file in sorted((self.store / "archives").iterdir())]

    def staged(self, user: str = "erp") -> list[Path]:
        """The staging files of a user, without their notes."""
        directory = self.store / ".sftpgate/staging" / user
        return sorted(file for file in directory.glob("*") if file.suffix != ".json")

    async def until(self, event: str, count: int = 1) -> None:
        """Wait until the gate has logged an event so many times."""
        await self.when(lambda: len(self.log.events(event)) >= count)

    async def when(self, condition: Callable[[], bool]) -> None:
        """Wait until what the gate has logged fulfils a condition."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                self.log.news.clear()
                await self.log.news.wait()

    async def said(self, event: str, count: int = 1) -> list[EventDict]:
        """The lines of an event, as soon as there are so many: a client may have its answer before the line is written."""
        await self.until(event, count)
        return self.log.events(event)


Start = Callable[..., AbstractAsyncContextManager[Gate]]


def _files(top: Path, without: tuple[str, ...]) -> dict[str, bytes]:
    found = {}
    for path in top.rglob("*"):
        relative = path.relative_to(top)
        if relative.parts[0] not in without and path.is_file() and not path.is_symlink():
            found[str(relative)] = path.read_bytes()
    return found


async def serve(settings: Settings, announce: Callable[[int], None], confine: Callable[[], object]) -> None:
    """Serve in this process until SIGTERM; ``announce`` gets the port."""
    listeners = bind(settings.host, settings.port)
    running = Running(settings, confine=confine)
    ours, theirs = WorkerLink.pair()
    admission_server, numbers = AdmissionServer(plan_of(settings).limits), count(1)
    link = WorkerLink(ours, lambda message, _: admission_server.received(message, link.send), lambda: None)
    acceptor = Acceptor(listeners, lambda client: link.send(WorkerMessage(MessageKind.CONNECTION, next(numbers)), client))
    stop_at_signals(running.gate.stop)

    async def fits() -> bool:
        return False

    async def serve() -> None:
        serving = asyncio.ensure_future(work(running.gate, theirs, fits, leader=True))
        ready = asyncio.ensure_future(running.gate.ready.wait())
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        acceptor.start()
        announce(acceptor.address[1])
        await running.gate.stopping.wait()
        acceptor.close()
        await serving
        link.close()

    await running.serve(serve(), sweeping=True)


@asynccontextmanager
async def running(directory: Path, keys: Path, **settings: Any) -> AsyncIterator[Gate]:
    """A gate for the block; a second one on the same directory finds what the first one left."""
    async with _serving(prepared(directory, keys, settings)) as (port, log):
        yield Gate(directory, port, log, partial(signal.raise_signal, signal.SIGTERM))
    assert not log.unforeseen, log.unforeseen[0]


def prepared(directory: Path, keys: Path, settings: dict[str, Any]) -> Settings:
    """The settings of a gate in ``directory``, which has keys then."""
    if not (directory / "keys").exists():
        shutil.copytree(keys, directory / "keys")
    values = {"sftp_version": 6, "sweep_interval": 3600, "shutdown_grace": 0, "durability": "relaxed"} | settings
    where = {"host": "127.0.0.1", "port": 0, "data_dir": directory / "data", "keys_dir": directory / "keys"}
    return Settings.model_validate(where | values)


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[tuple[int, Log]]:
    said: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with _captured() as log:
        serving = asyncio.create_task(serve(settings, said.set_result, lambda: None))
        async with asyncio.timeout(WAIT_SECONDS):
            waiting: set[asyncio.Future[Any]] = {serving, said}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        try:
            yield said.result(), log
        finally:
            signal.raise_signal(signal.SIGTERM)
            async with asyncio.timeout(WAIT_SECONDS):
                await serving
