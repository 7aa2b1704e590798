"""The gate: lets clients in, and gives each SFTP session its view and its services.

It is given connections (``take``); who listens is decided elsewhere. Owns the tasks of the gateway in one TaskGroup: the
publisher, the connections, the sessions' work, and two rounds (notes of lingering uploads, idle sessions). Stops in order:
no new connections, then uploads in flight have a bounded time to finish, then connections are closed, and what sessions
left open is interrupted and kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection, Coroutine
from dataclasses import asdict, dataclass

import asyncssh

from sftpgate.errors import SftpgateError
from sftpgate.gateway import algorithms, fastpath
from sftpgate.gateway.auth import Gatekeeper, LoginServices
from sftpgate.gateway.door import Door
from sftpgate.gateway.entrance import Entrance
from sftpgate.gateway.hostkeys import HostKeys
from sftpgate.gateway.pace import PacedSession
from sftpgate.gateway.peers import is_dead, probe
from sftpgate.gateway.seams import check_asyncssh, refuse_environment
from sftpgate.gateway.services import Services, Spawn
from sftpgate.gateway.session import SftpSession
from sftpgate.gateway.view import Parts, View
from sftpgate.intake.ids import new_id
from sftpgate.intake.uploads import Sender
from sftpgate.logs import Logger, get_logger
from sftpgate.policy.bans import Offence
from sftpgate.settings import Algorithms, Settings
from sftpgate.store.allowance import Allowance
from sftpgate.users.registry import User, UserRegistry

log = get_logger("gateway")

WINDOW_BYTES = 4 * 1024 * 1024  # measured: 2 MiB halves an upload over 50 ms, 8 MiB and more make OpenSSH's client slow
LEAST_PACKET_DATA = 32 * 1024  # the data in a packet that every client knows how to send (RFC 4253 §6.1)
MAX_UNREAD_BYTES = 16 * 1024 * 1024  # that wait for a client to read; sessions stop far below it
ROUND_SECONDS = 0.5  # how soon an upload that lingers can be resumed after a kill of the server
ACCESS_ROUND_SECONDS = 0.5  # how soon a connection ends whose user or key is gone, twice: see Gatekeeper.check_again
KEY_ROUND_SECONDS = 2.0  # how much of the record of last uses a kill of the server may lose
HANG_UP_SECONDS = 2.0  # what a client has after its last CLOSE was answered: it takes a round trip or two
END_SECONDS = 10.0  # what sessions have to flush their interrupted uploads at the end
UNANSWERED_KEEPALIVES = 2**31  # any number: TCP tells whether the client is there, see peers
REKEY_BYTES = 1024**3  # sent; RFC 4253 §9
PASSWORD_THREADS = 2  # argon2id takes memory and a core for each: the rest waits
_PUBLIC_VERSION = "sftpgate"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateParts:
    """What the gate is made of. ``services`` gets the gate's way to start a task, and whether it is stopping."""

    settings: Settings
    parts: Parts
    services: Callable[[Spawn, Callable[[], bool]], Services]
    login: LoginServices
    door: Door
    host_keys: HostKeys
    log: Logger  # of connections and sessions


@dataclass(frozen=True, slots=True)
class Load:
    """What a gate has to do. ``publishing_seconds``: how long the oldest CLOSE has waited for its answer."""

    connections: int
    sessions: int
    publishing_seconds: float


class Gate:
    """A listening server. ``run`` serves until ``stop``."""

    def __init__(self, made_of: GateParts) -> None:
        settings = made_of.settings
        self._made_of = made_of
        self._settings = settings
        self.stopping = asyncio.Event()
        self._services = made_of.services(self._spawn, self.stopping.is_set)
        self._door = made_of.door
        self._keepers: dict[Gatekeeper, socket.socket] = {}
        self._looked_at_peers = 0.0
        self._tasks: asyncio.TaskGroup
        self._sessions: set[SftpSession] = set()
        self._quiet = asyncio.Event()  # set while there is no session
        self._quiet.set()
        self._options = asyncssh.SSHServerConnectionOptions(**self._ssh_options())
        self._connections = 0
        self._retired = False
        self.ready = asyncio.Event()  # set while connections are taken

    def stop(self) -> None:
        """Ask ``run`` to end; may be called again."""
        self.stopping.set()

    def load(self) -> Load:
        """How much there is to do at this moment."""
        now = asyncio.get_running_loop().time()
        waits = [now - upload.closed_at for upload in self._services.register if upload.closed_at is not None]
        return Load(self._connections, len(self._sessions), max(waits, default=0.0))

    def retire(self) -> None:
        """End ``run`` when the last client has left."""
        self._retired = True
        if not self._connections:
            self.stop()

    def take(self, connection: socket.socket, entrance: Entrance) -> None:
        """Serve the client of an accepted connection, where it is let in by ``entrance``."""
        if self.stopping.is_set() or not self.ready.is_set():
            connection.close()
            entrance.gone()
            return
        self._connections += 1
        self._spawn(self._serve(connection, entrance))

    async def run(self) -> None:
        """Serve until ``stop`` is called, then end in order."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                rounds = [self._tasks.create_task(work) for work in self._regular_work()]
                self.ready.set()
                await self.stopping.wait()
                await self._let_uploads_finish()
                for round_ in rounds:
                    round_.cancel()
                for keeper in list(self._keepers):
                    keeper.connection.disconnect(asyncssh.DISC_BY_APPLICATION, "The server is shutting down")
                await self._let_sessions_end()
                await self._services.hops.run(self._made_of.login.last_uses.write)
        finally:
            await self._services.publisher.finish()

    def _regular_work(self) -> list[Coroutine[object, object, None]]:
        return [self._rounds(), self._access_rounds(), self._key_rounds(), self._door.bans.run()]

    def _ssh_options(self) -> dict[str, object]:
        check_asyncssh()
        settings = self._settings
        offer = algorithms.offer(settings.algorithms)
        if settings.algorithms is Algorithms.LEGACY:
            log.warning("algorithms.legacy", added=", ".join(algorithms.added_by_legacy()))
        return {
            "server_host_keys": self._made_of.host_keys.load(),
            "send_server_host_keys": True,  # so that clients learn the others, and during a rotation the next ones
            "server_version": _PUBLIC_VERSION,
            "kex_algs": list(offer.kex_algs),
            "encryption_algs": list(offer.encryption_algs),
            "mac_algs": list(offer.mac_algs),
            "signature_algs": list(offer.signature_algs),
            # a packet of 250 KiB inflates to 250 MiB, on the event loop; whoever asks for compression can do without
            "compression_algs": ["none"],
            "gss_host": None,
            "allow_pty": False,
            "line_editor": False,
            "agent_forwarding": False,
            "x11_forwarding": False,
            "rekey_bytes": REKEY_BYTES,
            "login_timeout": settings.login_timeout,
            "keepalive_interval": settings.keepalive_interval or None,
            "keepalive_count_max": UNANSWERED_KEEPALIVES,
        }

    async def _serve(self, connection: socket.socket, entrance: Entrance) -> None:
        try:
            await self._welcome(connection, entrance)
        finally:
            connection.close()
            self._connections -= 1
            entrance.gone()
            if self._retired and not self._connections:
                self.stop()

    async def _welcome(self, connection: socket.socket, entrance: Entrance) -> None:
        """Let an accepted connection in, where the door does, and serve it to its end."""
        loop = asyncio.get_running_loop()
        visitor = await self._door.admit(connection, entrance, lambda reason: keeper.hang_up(reason))
        if visitor is None:
            return
        keeper = Gatekeeper(self._made_of.login, self._door, visitor, self._made_of.log, self._open_session, self._accelerate)
        self._keepers[keeper] = connection
        if self._settings.keepalive_interval:
            probe(connection, self._settings.keepalive_interval)
        try:
            # a broken-off or failed login ends here, and was logged where it was refused; so does one whose client names itself
            # in something else than ASCII (asyncssh passes UnicodeDecodeError on)
            with contextlib.suppress(OSError, asyncssh.Error, UnicodeDecodeError):
                client = await asyncssh.run_server(connection, options=self._options, server_factory=lambda: keeper)
                await client.wait_closed()
        finally:
            del self._keepers[keeper]
            if keeper.user is None and loop.time() - keeper.came_at >= self._settings.login_timeout:
                self._door.failed(visitor, Offence.LOGIN_TIMEOUT)
            self._door.left(visitor)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        self._tasks.create_task(_guarded(work))

    async def _let_uploads_finish(self) -> None:
        """Wait for uploads in flight, and then for their clients to hang up: one that is cut off reports an error."""
        register = self._services.register
        if not register:
            return
        log.info("gate.draining", uploads=len(register))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.shutdown_grace):
                await register.empty.wait()
                async with asyncio.timeout(HANG_UP_SECONDS):
                    await self._quiet.wait()

    async def _let_sessions_end(self) -> None:
        """Wait until every session has put away what it had open."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._quiet.wait()

    async def _rounds(self) -> None:
        """What has to be looked at now and then."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            lingering = [upload for upload in self._services.register if upload.size and not upload.noted]
            if lingering:
                await self._services.hops.run(self._services.register.note_lingering, lingering)
            self._end_idle()
            self._end_old()
            self._end_deaf()
            self._end_dead()

    def _end_idle(self) -> None:
        limit = self._settings.idle_timeout
        now = asyncio.get_running_loop().time()
        for session in list(self._sessions) if limit else ():
            if now - session.last_request_at > limit:
                session.end("idle")
        for keeper in list(self._keepers) if limit else ():
            if keeper.user is not None and not keeper.sessions and now - keeper.quiet_since > limit:
                keeper.hang_up("idle: no session (rule: idle_timeout)")

    def _end_old(self) -> None:
        limit = self._settings.connection_time_max
        now = asyncio.get_running_loop().time()
        for keeper in list(self._keepers) if limit else ():
            if keeper.user is not None and now - keeper.came_at > limit:
                keeper.hang_up("its time is over (rule: connection_time_max)")

    def _end_deaf(self) -> None:
        """End connections whose clients ask and do not read: what waits for them must not fill the memory."""
        for keeper in list(self._keepers):
            if keeper.unread_bytes > MAX_UNREAD_BYTES:
                keeper.cut_off(f"more than {MAX_UNREAD_BYTES} bytes wait for the client to read them")

    def _end_dead(self) -> None:
        """End connections whose clients' machines are gone. One that does not answer is no reason: it may have work to do."""
        interval = self._settings.keepalive_interval
        now = asyncio.get_running_loop().time()
        if not interval or now - self._looked_at_peers < interval / 4:
            return
        self._looked_at_peers = now
        for keeper, connection in list(self._keepers.items()):
            if keeper.user is not None and is_dead(connection, interval):
                keeper.cut_off("the client's machine acknowledges nothing any more (rule: keepalive_interval)")

    async def _access_rounds(self) -> None:
        """End the connections of those who would not be let in any more."""
        while True:
            await asyncio.sleep(ACCESS_ROUND_SECONDS)
            keepers = [keeper for keeper in self._keepers if keeper.user is not None]
            names = {keeper.user.name for keeper in keepers if keeper.user is not None}
            # off the event loop: the keys directory may be on a slow disk
            users, revoked = await self._services.hops.run(_users, self._made_of.login.registry, names)
            for keeper in keepers:
                if keeper.user is not None:
                    keeper.check_again(users[keeper.user.name], revoked)

    async def _key_rounds(self) -> None:
        """Write down which keys were used, and take up host keys that have changed: new connections are shown those."""
        hops, host_keys = self._services.hops, self._made_of.host_keys
        while True:
            await asyncio.sleep(KEY_ROUND_SECONDS)
            await hops.run(self._made_of.login.last_uses.write)
            if not await hops.run(host_keys.changed):
                continue
            try:
                self._options = asyncssh.SSHServerConnectionOptions(**await hops.run(self._ssh_options))
            except (SftpgateError, asyncssh.Error, OSError, ValueError) as error:
                log.error("host_keys.not_loaded", reason=str(error))  # those from before are shown on
            else:
                log.info("host_keys.loaded")

    # -- connections and sessions ------------------------------------------------------------------------------------

    def _accelerate(self, connection: asyncssh.SSHServerConnection) -> None:
        if self._settings.fast_path:
            fastpath.install(connection, algorithms.offer(self._settings.algorithms).encryption_algs)

    def _open_session(self, keeper: Gatekeeper) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        """A channel with a session. Raises ChannelOpenError with the rule that refuses it."""
        user = keeper.user
        settings = self._settings
        if user is None or self.stopping.is_set():
            raise _no_session(keeper, "the server is stopping")
        if keeper.sessions >= settings.max_sessions_per_connection:
            raise _no_session(keeper, "too many sessions in this connection (rule: max_sessions_per_connection)")
        seat = self._door.begin_session(user.name)
        if seat is None:
            raise _no_session(keeper, "too many sessions of this user (rule: max_sessions_per_user)")
        parts = self._made_of.parts
        try:
            parts.edits.make_home(user.home)
        except SftpgateError as error:
            self._door.end_session(seat)
            raise _no_session(keeper, "the server could not do this" if error.local else error.message) from error
        keeper.sessions += 1
        sender = Sender(
            user=user.name,
            home=user.home,
            address=keeper.address,
            login=keeper.login,
            client=keeper.client,
            session=new_id(self._made_of.login.clock()),
        )
        session_log = keeper.log.bind(session=sender.session)
        is_openssh = "OpenSSH" in keeper.client
        packet_bytes = fastpath.MAX_PACKET_DATA if is_openssh else LEAST_PACKET_DATA
        channel = keeper.connection.create_server_channel(encoding=None, window=WINDOW_BYTES, max_pktsize=packet_bytes)
        refuse_environment(channel)

        def ended() -> None:
            if isinstance(session, PacedSession):
                session.pay_up()
            self._door.end_session(seat)
            keeper.session_ended()
            self._sessions.discard(session)
            if not self._sessions:
                self._quiet.set()
            session_log.info("session.closed", **asdict(session.counts))

        kind = PacedSession if settings.max_bytes_per_second else SftpSession
        session = kind(
            self._services,
            View(self._made_of.parts, sender),
            session_log,
            tell_refusals=is_openssh,
            on_end=ended,
        )
        if isinstance(session, PacedSession):
            file = parts.layout.allowance(user.name)
            session.allowance = Allowance(parts.disk, file, settings.max_bytes_per_second)
        self._sessions.add(session)
        self._quiet.clear()
        return channel, session


def _users(registry: UserRegistry, names: Collection[str]) -> tuple[dict[str, User | None], frozenset[bytes] | None]:
    return {name: registry.get(name) for name in names}, registry.revocations.in_force()


def _no_session(keeper: Gatekeeper, reason: str) -> asyncssh.ChannelOpenError:
    keeper.log.info("session.refused", reason=reason)
    keeper.channel_refused()
    return asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, reason)


async def _guarded(work: Coroutine[object, object, None]) -> None:
    """A failing task of one session must not end the others."""
    try:
        await work
    except Exception as error:
        log.error("task.failed", exc_info=error)
