"""Who is let in: one instance per connection, asked by asyncssh.

The decisions are ``policy.login``'s; here they get the key, the address and the time. A client learns nothing from a
refusal; the log line says which rule refused. Passwords are verified in a bounded pool, and an unknown user costs as
long as a known one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncssh

from sftpgate.gateway.defence import Admission
from sftpgate.intake.hops import Hops
from sftpgate.intake.moves import Clock
from sftpgate.logs import Logger
from sftpgate.policy.login import LoginRefusal, account_refusal, login_refusal
from sftpgate.users import passwords
from sftpgate.users.registry import User, UserRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginServices:
    """What logins need; one set per process."""

    registry: UserRegistry
    hops: Hops
    clock: Clock
    min_rsa_bits: int
    max_attempts: int


class Gatekeeper(asyncssh.SSHServer):
    """Answers asyncssh's questions about one connection."""

    def __init__(
        self,
        services: LoginServices,
        admission: Admission[Gatekeeper],
        log: Logger,
        open_session: Callable[[Gatekeeper], tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]] | bool],
    ) -> None:
        self._services = services
        self._admission = admission
        self._open_session = open_session
        self._failures = 0
        self._refused = False
        self.log = log
        self.connection: asyncssh.SSHServerConnection
        self.address = ""
        self.user: User | None = None
        self.login = ""
        self.sessions = 0

    # -- the connection ----------------------------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """A client has connected."""
        self.connection = conn
        peer = conn.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "?"
        self.log = self.log.bind(address=self.address)
        if not self._admission.enter(self):
            self._refused = True
            self.log.warning("connection.refused", reason="too many connections (rule: max_connections, max_unauthenticated)")
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._admission.leave(self)
        if not self._refused and self.user is None:
            self.log.info("connection.closed", logged_in=False, reason=str(exc) if exc else None)

    @property
    def client(self) -> str:
        """The client's version, as it names itself."""
        return str(self.connection.get_extra_info("client_version") or "")

    def begin_auth(self, username: str) -> bool:
        """Everybody must log in."""
        return True

    def auth_completed(self) -> None:
        """Somebody is logged in."""
        self._admission.authenticated(self)
        self.user = self._services.registry.get(str(self.connection.get_extra_info("username")))
        if self.user is not None:
            self.log = self.log.bind(user=self.user.name)
            self.log.info("login.accepted", login=self.login, client=self.client)

    def session_requested(self) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]] | bool:
        """A channel for a session."""
        return self._open_session(self)

    # -- keys --------------------------------------------------------------------------------------------------------

    def public_key_auth_supported(self) -> bool:
        """Keys are accepted."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the user may log in with this key; asked before the signature is checked.

        Certificates are not accepted: asyncssh asks about their authority's key only (``validate_ca_key``, which
        says no), and accepts one without principals for everybody.
        """
        services = self._services
        user = services.registry.get(username)
        refusal = login_refusal(
            user,
            user.find_key(key.public_data) if user is not None else None,
            address=self.address,
            now=services.clock(),
            min_rsa_bits=services.min_rsa_bits,
        )
        if refusal is not None:
            self._refuse(username, refusal, key.get_fingerprint())
            return False
        self.login = key.get_fingerprint()
        return True

    # -- passwords ---------------------------------------------------------------------------------------------------

    def password_auth_supported(self) -> bool:
        """Passwords are accepted."""
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        """Whether the password is the user's."""
        services = self._services
        user = services.registry.get(username)
        refusal = account_refusal(user, address=self.address, now=services.clock())
        stored = user.password_hash if user is not None else None
        right = await services.hops.run(passwords.verify, stored, password)
        if refusal is None and not right:
            refusal = LoginRefusal.WRONG_PASSWORD
        if refusal is not None:
            self._refuse(username, refusal, "password")
            return False
        self.login = "password"
        return True

    def kbdint_auth_supported(self) -> bool:
        """Keyboard-interactive asks for the password."""
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> tuple[str, str, str, list[tuple[str, bool]]]:
        """One hidden question."""
        return "", "", lang, [("Password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        """Whether the answer is the password."""
        return len(responses) == 1 and await self.validate_password(username, responses[0])

    # -- refusals ----------------------------------------------------------------------------------------------------

    def _refuse(self, username: str, refusal: LoginRefusal, login: str) -> None:
        self._failures += 1
        self.log.warning("login.refused", user=username[:64], login=login, reason=refusal, client=self.client)
        if self._failures >= self._services.max_attempts:
            loop = asyncio.get_running_loop()
            loop.call_soon(
                self.connection.disconnect, asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "Too many authentication failures"
            )
