"""Where the gate reaches into asyncssh's logins further than its public API goes. Nothing else does.

Some things have no public hook: a certificate's principals and the signature of a login are not shown to the server's
owner, one success ends the login where two proofs are asked for, a client that asks for the login service again after a
failure is cut off, nobody counts requests to log in, host keys are not announced on a connection that was handed over, and
variables of an environment are always taken. So one method of the *instance* of a channel is replaced, and four of that of a
connection are wrapped, ``validate_public_key``, ``send_userauth_success``, ``send_userauth_failure`` and ``_finish_userauth``;
asyncssh's own run inside and check every signature.
``check_asyncssh`` refuses to start on a release that has them in another shape, and where one were passed by all the same,
nobody gets in: keys are accepted through the wrapper only, and ``Gatekeeper.auth_completed`` asks for every proof again.

Nothing here blocks.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import asyncssh
from asyncssh.packet import SSHPacket

from sftpgate.errors import KeyRefused, SettingsError
from sftpgate.policy.login import LoginRefusal
from sftpgate.users.keyformats import wire_type
from sftpgate.users.logins import Judgement

_VERIFIED = 0x04  # OpenSSH's PROTOCOL.u2f: the flag "user verification"; 0x01, the touch, is asyncssh's own check
_COUNTER_BYTES = 4
PACKET_OVERHEAD = 64  # what a small deferred packet costs at least
_LEARNING = ("OpenSSH_", "AsyncSSH_")  # OpenSSH's PROTOCOL §2.5, UpdateHostKeys
_USERAUTH = b"ssh-userauth"  # RFC 4252 §4

_EXPECTED = (
    (asyncssh.SSHServerConnection, "validate_public_key", ["self", "username", "key_data", "msg", "signature"]),
    (asyncssh.SSHServerConnection, "send_userauth_success", ["self"]),
    (asyncssh.SSHServerConnection, "send_userauth_failure", ["self", "partial_success"]),
    (asyncssh.SSHServerConnection, "_finish_userauth", ["self", "begin_auth", "method", "packet"]),
    (asyncssh.SSHServerConnection, "send_server_host_keys", ["self"]),
    (asyncssh.SSHServerConnection, "_make_keepalive_request", ["self"]),
    (asyncssh.SSHServerConnection, "set_authorized_keys", ["self", "authorized_keys"]),
    (asyncssh.SSHServerChannel, "_process_env_request", ["self", "packet"]),
    (asyncssh.SSHAuthorizedKeys, "validate", ["self", "key", "client_host", "client_addr", "cert_principals", "ca"]),
    (asyncssh.SSHAuthorizedKeys, "validate_x509", ["self", "cert", "client_host", "client_addr"]),
)


class Desk(Protocol):
    """Who decides about a connection's login."""

    def judge(self, username: str, blob: bytes) -> Judgement:
        """Whether the user may log in with this key or certificate."""

    def refuse_key(self, username: str, refusal: LoginRefusal, login: str) -> None:
        """Note that a key was refused."""

    def key_proven(self, username: str, blob: bytes, judgement: Judgement) -> None:
        """The client has signed with the key."""

    def asked(self) -> None:
        """The client sent a request to log in, of whatever kind."""

    def login_complete(self) -> bool:
        """One more proof is there; True where nothing more is asked for."""


def check_asyncssh() -> None:
    """Raise SettingsError where asyncssh is not of the shape that this module knows."""
    for owner, name, parameters in _EXPECTED:
        found = list(inspect.signature(getattr(owner, name, lambda: None)).parameters)
        if found != parameters:
            raise SettingsError(
                f"asyncssh {asyncssh.__version__} does logins in another way than this sftpgate knows "
                f"({owner.__name__}.{name}): install the release that requirements.lock names"
            )


def refuse_environment(channel: asyncssh.SSHServerChannel[bytes]) -> None:
    """Refuse variables of the client's environment: asyncssh would keep any number of them, and nobody here reads one."""
    vars(channel)["_process_env_request"] = lambda packet: False


def ask_once(connection: asyncssh.SSHServerConnection) -> None:
    """Send no keepalive while an earlier one is not answered: a client that does not read must not find them all later."""
    ask = connection._make_keepalive_request  # noqa: SLF001

    async def ask_if_answered() -> None:
        if not connection._global_request_waiters:  # noqa: SLF001
            await ask()

    connection._make_keepalive_request = ask_if_answered  # type: ignore[method-assign]  # noqa: SLF001


def guard_login(connection: asyncssh.SSHServerConnection, desk: Desk, signature_algs: Collection[str]) -> None:
    """Let ``desk`` decide about this connection's keys, and about when a login is complete."""
    validate, succeed, fail = (
        connection.validate_public_key,
        connection.send_userauth_success,
        connection.send_userauth_failure,
    )

    finish = connection._finish_userauth  # noqa: SLF001

    async def validate_public_key(username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        judgement = desk.judge(username, key_data)
        refusal = judgement.refusal or signature_refusal(judgement, signature if msg else None, signature_algs)
        if refusal is None:
            connection.set_authorized_keys(_Accepted(judgement))
            try:
                valid = await validate(username, key_data, msg, signature)
            finally:
                connection.set_authorized_keys(None)  # while there are some, keys are offered whatever the desk says
            if valid:
                if msg:
                    desk.key_proven(username, key_data, judgement)
                return True
            refusal = LoginRefusal.WRONG_SIGNATURE
        desk.refuse_key(username, refusal, judgement.login)
        return False

    async def send_userauth_success() -> None:
        if desk.login_complete():
            await succeed()
            # a server that was given its connection (asyncssh.run_server) does not do it by itself
            if not connection.is_closed() and _learns_host_keys(connection):
                connection.send_server_host_keys()
        else:
            connection.send_userauth_failure(True)

    def send_userauth_failure(partial_success: bool) -> None:
        fail(partial_success)
        # paramiko asks for the service again before each further attempt, which OpenSSH allows and asyncssh does not
        connection._next_service = _USERAUTH  # noqa: SLF001

    async def finish_userauth(begin_auth: bool, method: bytes, packet: SSHPacket) -> None:
        desk.asked()
        await finish(begin_auth, method, packet)

    connection._finish_userauth = finish_userauth  # type: ignore[method-assign]  # noqa: SLF001
    connection.validate_public_key = validate_public_key  # type: ignore[method-assign]
    connection.send_userauth_success = send_userauth_success  # type: ignore[method-assign]
    connection.send_userauth_failure = send_userauth_failure  # type: ignore[method-assign]


def _learns_host_keys(connection: asyncssh.SSHServerConnection) -> bool:
    """Whether the client is one that learns host keys. The others must not be told: phpseclib answers the request, which wants
    no answer, and asyncssh ends the connection over that.
    """
    version = str(connection.get_extra_info("client_version") or "")
    return version.partition("-")[2].partition("-")[2].startswith(_LEARNING)


def unread_bytes(connection: asyncssh.SSHServerConnection) -> int:
    """How much waits for a client to read it: at the socket, and in asyncssh while keys are exchanged.

    Replies to requests of the SSH layer itself are bounded by no window.
    """
    transport = connection._transport  # noqa: SLF001
    waiting = 0 if transport is None else transport.get_write_buffer_size()
    return waiting + sum(len(part) + PACKET_OVERHEAD for _, parts in connection._deferred_packets for part in parts or (b"",))  # noqa: SLF001


def signature_refusal(judgement: Judgement, signature: bytes | None, allowed: Collection[str]) -> LoginRefusal | None:
    """What is wrong with the way in which a client signs, None where nothing is. ``signature`` is None where it only asks.

    asyncssh accepts signatures of every kind that it knows, whatever the server's list says.
    """
    if judgement.certificate is not None and judgement.certificate.signature_algorithm not in allowed:
        return LoginRefusal.WEAK_SIGNATURE
    if signature is None:
        return None
    try:
        algorithm = wire_type(signature)
    except KeyRefused:
        return LoginRefusal.WRONG_SIGNATURE
    if algorithm not in allowed:
        return LoginRefusal.WEAK_SIGNATURE
    asks = judgement.line is not None and judgement.line.has_option("verify-required")
    # a hardware key's signature ends with a byte of flags and a counter
    if asks and algorithm.startswith("sk-") and not signature[-_COUNTER_BYTES - 1] & _VERIFIED:
        return LoginRefusal.NO_VERIFICATION
    return None


class _Accepted(asyncssh.SSHAuthorizedKeys):
    """What asyncssh is told of the one key that was judged, as if it had found it in a file of its own.

    It is asked about no other key: every request is judged anew.
    """

    def __init__(self, judgement: Judgement) -> None:
        super().__init__()
        assert judgement.line is not None  # it was accepted
        self._line = judgement.line

    def validate(
        self,
        key: asyncssh.SSHKey,
        client_host: str,
        client_addr: str,
        cert_principals: Sequence[str] | None = None,
        ca: bool = False,
    ) -> Mapping[str, Any] | None:
        """The options of the line; None for any other key."""
        if key.public_data != self._line.blob or ca is not self._line.cert_authority:
            return None
        options: dict[str, Any] = {"no-touch-required": True} if self._line.has_option("no-touch-required") else {}
        return options | ({"principals": list(self._line.principals)} if self._line.principals else {})

    def validate_x509(self, cert: object, client_host: str, client_addr: str) -> tuple[None, None]:
        """X.509 certificates are not accepted."""
        return None, None
