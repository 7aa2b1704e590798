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
from collections.abc import Collection, Coroutine
from dataclasses import asdict, dataclass

import asyncssh

from sftpgate.errors import SftpgateError
from sftpgate.gateway.admission.client import AdmissionClient
from sftpgate.gateway.sftp.bandwidth import PacedSession
from sftpgate.gateway.sftp.session import SftpSession
from sftpgate.gateway.sftp.view import View
from sftpgate.gateway.shared import Shared
from sftpgate.gateway.ssh import algorithms, fast_path
from sftpgate.gateway.ssh.authentication import Gatekeeper
from sftpgate.gateway.ssh.login_hooks import check_asyncssh, refuse_environment
from sftpgate.gateway.ssh.peers import is_dead, probe
from sftpgate.ids import new_id
from sftpgate.logs import get_logger
from sftpgate.policy.bans import Offence
from sftpgate.settings.choices import Algorithms
from sftpgate.store.shared.allowance import Allowance
from sftpgate.uploads.terms import Sender
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


@dataclass(frozen=True, slots=True)
class Load:
    """What a gate has to do. ``publishing_seconds``: how long the oldest CLOSE has waited for its answer."""

    connections: int
    sessions: int
    publishing_seconds: float


class Gate:
    """A listening server. ``run`` serves until ``stop``."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._settings = shared.site.settings
        self._admission = shared.admission
        self.stopping = shared.tasks.stopping
        self._keepers: dict[Gatekeeper, socket.socket] = {}
        self._looked_at_peers = 0.0
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
        """Return how much there is to do at this moment."""
        now = asyncio.get_running_loop().time()
        waits = [now - upload.fate.closed_at for upload in self._shared.open_uploads if upload.fate.closed_at is not None]
        return Load(self._connections, len(self._sessions), max(waits, default=0.0))

    def retire(self) -> None:
        """End ``run`` when the last client has left."""
        self._retired = True
        if not self._connections:
            self.stop()

    def take(self, connection: socket.socket, admission_client: AdmissionClient) -> None:
        """Serve the client of an accepted connection, if it is let in by ``admission_client``."""
        if self.stopping.is_set() or not self.ready.is_set():
            connection.close()
            admission_client.gone()
            return
        self._connections += 1
        self._shared.tasks.spawn(self._serve(connection, admission_client))

    async def run(self) -> None:
        """Serve until ``stop`` is called, then end in order."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._shared.tasks.group = tasks
                rounds = [tasks.create_task(work) for work in self._regular_work()]
                self.ready.set()
                await self.stopping.wait()
                await self._let_uploads_finish()
                for round_ in rounds:
                    round_.cancel()
                for keeper in list(self._keepers):
                    keeper.connection.disconnect(asyncssh.DISC_BY_APPLICATION, "The server is shutting down")
                await self._let_sessions_end()
                await self._shared.threads.run(self._shared.last_uses.write)
        finally:
            await self._shared.publisher.finish()

    def _regular_work(self) -> list[Coroutine[object, object, None]]:
        return [self._rounds(), self._access_rounds(), self._key_rounds(), self._admission.bans.run()]

    def _ssh_options(self) -> dict[str, object]:
        check_asyncssh()
        settings = self._settings
        offer = algorithms.offer(settings.algorithms)
        if settings.algorithms is Algorithms.LEGACY:
            log.warning("algorithms.legacy", added=", ".join(algorithms.added_by_legacy()))
        return {
            "server_host_keys": self._shared.host_keys.load(),
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

    async def _serve(self, connection: socket.socket, admission_client: AdmissionClient) -> None:
        try:
            await self._welcome(connection, admission_client)
        finally:
            connection.close()
            self._connections -= 1
            admission_client.gone()
            if self._retired and not self._connections:
                self.stop()

    async def _welcome(self, connection: socket.socket, admission_client: AdmissionClient) -> None:
        """Serve an accepted connection to its end, if it is admitted."""
        loop = asyncio.get_running_loop()
        visitor = await self._admission.admit(connection, admission_client, lambda reason: keeper.hang_up(reason))
        if visitor is None:
            return
        keeper = Gatekeeper(self._shared, visitor, self._open_session, self._accelerate)
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
                self._admission.failed(visitor, Offence.LOGIN_TIMEOUT)
            self._admission.left(visitor)

    async def _let_uploads_finish(self) -> None:
        """Wait for uploads in flight, and then for their clients to hang up: one that is cut off reports an error."""
        open_uploads = self._shared.open_uploads
        if not open_uploads:
            return
        log.info("gate.draining", uploads=len(open_uploads))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.shutdown_grace):
                await open_uploads.empty.wait()
                async with asyncio.timeout(HANG_UP_SECONDS):
                    await self._quiet.wait()

    async def _let_sessions_end(self) -> None:
        """Wait until every session has put away what it had open."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._quiet.wait()

    async def _rounds(self) -> None:
        """Look now and then at what has to be looked at."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            lingering = [upload for upload in self._shared.open_uploads if upload.size and not upload.is_noted]
            if lingering:
                await self._shared.threads.run(self._shared.open_uploads.note_lingering, lingering)
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
            users, revoked = await self._shared.threads.run(_users, self._shared.registry, names)
            for keeper in keepers:
                if keeper.user is not None:
                    keeper.check_again(users[keeper.user.name], revoked)

    async def _key_rounds(self) -> None:
        """Write down which keys were used, and take up host keys that have changed: new connections are shown those."""
        threads, host_keys = self._shared.threads, self._shared.host_keys
        while True:
            await asyncio.sleep(KEY_ROUND_SECONDS)
            await threads.run(self._shared.last_uses.write)
            if not await threads.run(host_keys.changed):
                continue
            try:
                self._options = asyncssh.SSHServerConnectionOptions(**await threads.run(self._ssh_options))
            except (SftpgateError, asyncssh.Error, OSError, ValueError) as error:
                log.error("host_keys.not_loaded", reason=str(error))  # those from before are shown on
            else:
                log.info("host_keys.loaded")

    # -- connections and sessions ------------------------------------------------------------------------------------

    def _accelerate(self, connection: asyncssh.SSHServerConnection) -> None:
        if self._settings.fast_path:
            fast_path.install(connection, algorithms.offer(self._settings.algorithms).encryption_algs)

    def _open_session(self, keeper: Gatekeeper) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        """Return a channel with a session. Raises ChannelOpenError with the rule that refuses it."""
        user = keeper.user
        settings = self._settings
        if user is None or self.stopping.is_set():
            raise _no_session(keeper, "the server is stopping")
        if keeper.sessions >= settings.max_sessions_per_connection:
            raise _no_session(keeper, "too many sessions in this connection (rule: max_sessions_per_connection)")
        slot = self._admission.begin_session(user.name)
        if slot is None:
            raise _no_session(keeper, "too many sessions of this user (rule: max_sessions_per_user)")
        shared = self._shared
        try:
            shared.acts.make_home(user.home)
        except SftpgateError as error:
            self._admission.end_session(slot)
            raise _no_session(keeper, "the server could not do this" if error.local else error.message) from error
        keeper.sessions += 1
        sender = Sender(
            user=user.name,
            home=user.home,
            address=keeper.address,
            login=keeper.login,
            client=keeper.client,
            session=new_id(shared.site.clock()),
        )
        session_log = keeper.log.bind(session=sender.session)
        is_openssh = "OpenSSH" in keeper.client
        packet_bytes = fast_path.MAX_PACKET_DATA if is_openssh else LEAST_PACKET_DATA
        channel = keeper.connection.create_server_channel(encoding=None, window=WINDOW_BYTES, max_pktsize=packet_bytes)
        refuse_environment(channel)

        def ended() -> None:
            if isinstance(session, PacedSession):
                session.pay_up()
            self._admission.end_session(slot)
            keeper.session_ended()
            self._sessions.discard(session)
            if not self._sessions:
                self._quiet.set()
            session_log.info("session.closed", **asdict(session.counts))

        kind = PacedSession if settings.max_bytes_per_second else SftpSession
        session = kind(
            shared,
            View(shared, sender),
            session_log,
            tell_refusals=is_openssh,
            on_end=ended,
        )
        if isinstance(session, PacedSession):
            file = shared.site.layout.allowance(user.name)
            session.allowance = Allowance(shared.site.disk, file, settings.max_bytes_per_second)
        self._sessions.add(session)
        self._quiet.clear()
        return channel, session


def _users(registry: UserRegistry, names: Collection[str]) -> tuple[dict[str, User | None], frozenset[bytes] | None]:
    return {name: registry.get(name) for name in names}, registry.revocations.in_force()


def _no_session(keeper: Gatekeeper, reason: str) -> asyncssh.ChannelOpenError:
    keeper.log.info("session.refused", reason=reason)
    keeper.channel_refused()
    return asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, reason)
