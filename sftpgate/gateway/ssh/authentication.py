"""Who is let in: one instance per connection, asked by asyncssh.

The decisions are ``policy``'s, on what ``users.logins`` finds; here they get the address and the time. A client learns nothing
from a refusal; the log line says which rule refused. Passwords are verified in a bounded pool, and an unknown user costs as
long as a known one. If ``required_auth`` asks for several proofs, each success but the last is a partial one (RFC 4252
§5.1), and a client that names another user begins anew.

A login is judged again while its connection lasts (``check_again``): who would not be let in any more has to go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import asyncssh

from sftpgate.gateway.admission.rules import Stage, Visitor
from sftpgate.gateway.shared import Shared
from sftpgate.gateway.ssh.key_exchanges import Payer
from sftpgate.gateway.ssh.login_hooks import ask_once, guard_login, take_turns, unread_bytes
from sftpgate.ledger.logins import LastUse
from sftpgate.policy.bans import Offence
from sftpgate.policy.exchanges import Group
from sftpgate.policy.login import LoginRefusal, account_refusal
from sftpgate.policy.methods import first_methods, is_complete, may_try, remaining, required_of
from sftpgate.policy.wholeness import SETTLE_SECONDS
from sftpgate.settings.choices import AuthMethod as Method
from sftpgate.users import passwords
from sftpgate.users.logins import Judgement, Proof, end_reason, judge_key
from sftpgate.users.registry import User

_ROUNDS_TO_END = 2
_CLIENT_SHOWN = 200  # characters of the client's name for itself; RFC 4253 §4.2 allows 255 bytes
MAX_LOGIN_REQUESTS = 100  # an agent offers 50 keys at the most, one request each; not below the largest max_auth_attempts
MAX_REFUSED_CHANNELS = 100  # more than any client asks for by mistake


@dataclass(frozen=True, slots=True)
class ClaimedIdentity:
    """Whom a client says it is, as the keys directory has it at a moment, and which keys are revoked; None: nobody knows."""

    name: str
    user: User | None
    revoked: Container[bytes] | None


class Gatekeeper(asyncssh.SSHServer):
    """Answers asyncssh's questions about one connection."""

    def __init__(
        self,
        shared: Shared,
        visitor: Visitor,
        open_session: Callable[[Gatekeeper], tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]],
        accelerate: Callable[[asyncssh.SSHServerConnection], None],
    ) -> None:
        self._accelerate = accelerate
        self._shared = shared
        self._admission = shared.admission
        self._visitor = visitor
        self._open_session = open_session
        self._failures = 0
        self._claimed: User | None = None  # whom the client says it is
        self._candidate: Proof | None = None  # what was proven a moment ago
        self._proofs: list[Proof] = []
        self._lost_for_rounds = 0
        self._refused_channels = 0
        self._asked = 0
        self._stage = Stage.CONNECTED
        self._found = ClaimedIdentity("", None, None)
        self._checking = asyncio.Lock()  # held while a password is checked
        self._dropped = False
        self.came_at = self.quiet_since = asyncio.get_running_loop().time()  # quiet: without a session
        self.log = shared.log.bind(address=visitor.address)
        self.connection: asyncssh.SSHServerConnection
        self.address = visitor.address
        self.user: User | None = None
        self.sessions = 0

    # -- the connection ----------------------------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Begin: a client has connected, and was admitted."""
        self.connection = conn
        self._accelerate(conn)
        ask_once(conn)
        guard_login(conn, self, self._shared.signature_algs)
        take_turns(conn, self)
        if self._dropped:
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the client is gone."""
        if self.user is None:
            self.log.info("connection.closed", logged_in=False, reason=str(exc) if exc else None)

    @property
    def client(self) -> str:
        """The client's version, as it names itself."""
        return str(self.connection.get_extra_info("client_version") or "")

    @property
    def login(self) -> str:
        """How the client logged in: a key's fingerprint, "password", or both."""
        return " and ".join(proof.login for proof in self._proofs)

    def begin_auth(self, username: str) -> bool:
        """Ask everybody to log in. Called for each user that a client names: what it proved as another one does not count."""
        self._claimed = self._user_of(username)
        self._candidate = None
        self._proofs = []
        return True

    def login_complete(self) -> bool:
        """Take one more proof; return True if nothing more is asked for."""
        if self._candidate is not None:
            self._proofs.append(self._candidate)
            self._candidate = None
        return self._is_complete()

    def auth_completed(self) -> None:
        """Note that somebody is logged in."""
        user = self._user_of(str(self.connection.get_extra_info("username")))
        if user is None or not self._is_complete():  # removed at this very moment
            self.log.warning("login.dropped", reason=LoginRefusal.UNKNOWN_USER if user is None else "a proof is missing")
            self.connection.abort()
            return
        self.user = user
        self.log = self.log.bind(user=user.name)
        self.log.info("login.accepted", login=self.login, client=self.client)
        self._shared.last_uses.note(
            LastUse(owner=user.name, credential=proof.line, at=proof.at, address=self.address, client=self.client[:_CLIENT_SHOWN])
            for proof in self._proofs
        )
        self._shared.exchanges.note_login(self._visitor.source)
        if (refusal := self._admission.logged_in(self._visitor, user.name)) is not None:
            self.hang_up(refusal, asyncssh.DISC_TOO_MANY_CONNECTIONS)

    def check_again(self, user: User | None, revoked: Container[bytes] | None) -> None:
        """End the connection if it would not be let in any more. ``user`` and ``revoked`` are as they are now.

        It ends when that was seen twice in a row: a file that somebody writes in place is empty for an instant. A client
        that does not react is cut off the next time.
        """
        if self.user is None:
            return
        reason = end_reason(
            user,
            self.user,
            self._proofs,
            gate_methods=self._shared.site.settings.required_auth,
            address=self.address,
            now=self._shared.site.clock(),
            min_rsa_bits=self._shared.site.settings.min_rsa_bits,
            revoked=revoked,
        )
        if reason is None:
            self._lost_for_rounds = 0
            self.user = user
            return
        self._lost_for_rounds += 1
        if self._lost_for_rounds == _ROUNDS_TO_END:
            self.log.warning("connection.ended", reason=reason)
            self.connection.disconnect(asyncssh.DISC_BY_APPLICATION, "This login has ended")
        elif self._lost_for_rounds > _ROUNDS_TO_END:
            self.connection.abort()

    def hang_up(self, reason: str, code: int = asyncssh.DISC_BY_APPLICATION) -> None:
        """End the connection, and tell the client why if it has logged in."""
        if self._dropped:
            return
        self._dropped = True
        self.log.warning("connection.ended", reason=reason)
        if self.user is not None:
            self.connection.disconnect(code, reason)
        elif hasattr(self, "connection"):  # else it is aborted as soon as it is made
            self.connection.abort()

    @property
    def unread_bytes(self) -> int:
        """What waits for the client to read it."""
        return unread_bytes(self.connection) if hasattr(self, "connection") else 0

    def cut_off(self, reason: str) -> None:
        """End the connection at once: its client would not read a word of why."""
        self._dropped = True
        self.log.warning("connection.ended", reason=reason)
        self.connection.abort()

    def connection_requested(self, *_: object) -> bool:
        """Refuse forwarding."""
        self.channel_refused()
        return False

    def unix_connection_requested(self, dest_path: str) -> bool:
        """Refuse forwarding to sockets too."""
        self.channel_refused()
        return False

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        """Refuse to listen for a client."""
        self.channel_refused()
        return False

    def unix_server_requested(self, listen_path: str) -> bool:
        """Refuse to listen at a socket too."""
        self.channel_refused()
        return False

    def channel_refused(self) -> None:
        """Send a client away that goes on asking for what it does not get."""
        self._refused_channels += 1
        if self._refused_channels == MAX_REFUSED_CHANNELS:
            asyncio.get_running_loop().call_soon(self.hang_up, f"{MAX_REFUSED_CHANNELS} channels and forwardings were refused")

    def session_ended(self) -> None:
        """Give back the place of one of the connection's sessions."""
        self.sessions -= 1
        self.quiet_since = asyncio.get_running_loop().time()

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        """Return a channel for a session."""
        return self._open_session(self)

    # -- methods -----------------------------------------------------------------------------------------------------

    def public_key_auth_supported(self) -> bool:
        """Return whether a key is what comes next."""
        return Method.PUBLICKEY in self._offered()

    def password_auth_supported(self) -> bool:
        """Return whether a password is what comes next."""
        return Method.PASSWORD in self._offered()

    def kbdint_auth_supported(self) -> bool:
        """Offer keyboard-interactive, which asks for the password."""
        return Method.PASSWORD in self._offered()

    def _offered(self) -> frozenset[Method]:
        # before the first proof this does not depend on the user: it would tell who exists
        if not self._proofs:
            return first_methods(self._shared.site.settings.required_auth)
        return remaining(required=self._required(), proven=self._proven())

    def _required(self) -> Sequence[Method]:
        return required_of(self._claimed.required_auth if self._claimed else None, self._shared.site.settings.required_auth)

    def _proven(self) -> list[Method]:
        return [proof.method for proof in self._proofs]

    def _may_try(self, method: Method) -> bool:
        return may_try(method, required=self._required(), proven=self._proven())

    def _is_complete(self) -> bool:
        return is_complete(required=self._required(), proven=self._proven())

    async def asked(self, username: str) -> None:
        """Find out who the client says it is, when its last password is decided: each waits for the one before.

        A client that goes on asking, and never proves anything, has to go: a key that is accepted is no failed attempt.
        """
        self._progressed(Stage.ASKS)
        self._asked += 1
        if self._asked == MAX_LOGIN_REQUESTS:
            asyncio.get_running_loop().call_soon(self.hang_up, f"{MAX_LOGIN_REQUESTS} requests before the login")
        async with self._checking:
            await self._look_up(username)

    async def _look_up(self, username: str) -> None:
        """Read the user's files if they have changed, off the event loop."""
        registry = self._shared.registry
        for last_look in (False, True):
            user, revoked = await self._shared.login_threads.run(
                lambda: (registry.get(username), registry.revocations.in_force())
            )
            self._found = ClaimedIdentity(username, user, revoked)
            if last_look or not registry.is_settling(username):
                return
            await asyncio.sleep(SETTLE_SECONDS)  # a file was changed just now, and may be half written

    def _user_of(self, username: str) -> User | None:
        return self._found.user if self._found.name == username else None

    def speaks(self) -> None:
        """Note what the client offers for the exchange of keys."""
        self._progressed(Stage.SPEAKS)

    def _progressed(self, stage: Stage) -> None:
        """Report each step once, however often the client takes it."""
        if list(Stage).index(stage) > list(Stage).index(self._stage):
            self._stage = stage
            self._admission.progressed(self._visitor, stage)

    async def exchange(self, kind: str, is_wanted: Callable[[], bool], work: Callable[[], object]) -> object:
        """Have a key exchange computed when it is its turn. A stranger that has used its allowance up is counted, and waits."""
        exchanges = self._shared.exchanges
        if self.user is not None:
            payer = Payer(Group.USER, self.user.name)
        else:
            payer = exchanges.payer_of(self._visitor.source, named=self._visitor.named)
        if payer.group is Group.STRANGER and exchanges.has_used_up(payer):
            self._admission.failed(self._visitor, Offence.EXCHANGES)
        return await exchanges.run(payer, kind, is_wanted, work)

    # -- keys --------------------------------------------------------------------------------------------------------

    def judge(self, username: str, blob: bytes) -> Judgement:
        """Return whether the user may log in with this key or certificate; asked before the signature is checked, and with it."""
        shared = self._shared
        now = shared.site.clock()
        self._claimed = self._user_of(username)
        self._candidate = None
        judgement = judge_key(
            username,
            self._claimed,
            blob,
            address=self.address,
            now=now,
            issued=now,
            min_rsa_bits=shared.site.settings.min_rsa_bits,
            revoked=self._found.revoked,
        )
        if judgement.refusal is None and not self._may_try(Method.PUBLICKEY):
            return Judgement(refusal=LoginRefusal.METHOD_NOT_ACCEPTED, login=judgement.login)
        return judgement

    def key_proven(self, username: str, blob: bytes, judgement: Judgement) -> None:
        """Note that the client has signed with the key."""
        line = judgement.line.fingerprint if judgement.line else ""
        self._candidate = Proof(
            method=Method.PUBLICKEY, login=judgement.login, at=self._shared.site.clock(), blob=blob, line=line
        )

    def refuse_key(self, username: str, refusal: LoginRefusal, login: str) -> None:
        """Log that a key was refused."""
        self._refuse(username, refusal, login)

    # -- passwords ---------------------------------------------------------------------------------------------------

    async def validate_password(self, username: str, password: str) -> bool:
        """Return whether the password is the user's. A client that does not wait for the answer has tried it all the same."""
        shared = self._shared
        async with self._checking:
            await self._look_up(username)
            user = self._user_of(username)
            self._claimed = user
            self._candidate = None
            refusal = account_refusal(user, address=self.address, now=shared.site.clock())
            if refusal is None and not self._may_try(Method.PASSWORD):
                refusal = LoginRefusal.METHOD_NOT_ACCEPTED
            stored = user.password_hash if user is not None else None
            found: list[bool] = []
            try:
                await shared.password_threads.run(lambda: found.append(passwords.verify(stored, password)))
            finally:
                if refusal is None and found and not found[0]:
                    refusal = LoginRefusal.WRONG_PASSWORD
                if refusal is not None:
                    self._refuse(username, refusal, "password")
        if refusal is not None:
            return False
        self._candidate = Proof(
            method=Method.PASSWORD, login="password", at=shared.site.clock(), password_hash=stored, line="password"
        )
        return True

    def refuse_long_secret(self, username: str) -> None:
        """Refuse a password that is longer than any can be: it was not looked at."""
        self._refuse(username, LoginRefusal.LONG_PASSWORD, "password")

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> tuple[str, str, str, list[tuple[str, bool]]]:
        """Return one hidden question."""
        return "", "", lang, [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        """Return whether the answer is the password. One at a time: nobody answers before the last answer was judged."""
        if self._checking.locked() or len("".join(responses)) > passwords.MAX_PASSWORD_BYTES:
            self.refuse_long_secret(username)
            return False
        return len(responses) == 1 and await self.validate_password(username, responses[0])

    # -- refusals ----------------------------------------------------------------------------------------------------

    def _refuse(self, username: str, refusal: LoginRefusal, login: str) -> None:
        self._failures += 1
        self.log.warning("login.refused", user=username[:64], login=login, reason=refusal, client=self.client)
        self._admission.failed(self._visitor, refusal)
        if self._failures >= self._shared.site.settings.max_auth_attempts:
            loop = asyncio.get_running_loop()
            loop.call_soon(
                self.connection.disconnect, asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "Too many authentication failures"
            )
