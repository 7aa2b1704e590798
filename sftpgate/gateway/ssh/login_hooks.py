"""Where the gate reaches into asyncssh's logins further than its public API goes. Nothing else does.

Some things have no public hook: a certificate's principals and the signature of a login are not shown to the server's
owner, one success ends the login if two proofs are asked for, a client that asks for the login service again after a
failure is cut off, nobody counts requests to log in, host keys are not announced on a connection that was handed over,
variables of an environment are always taken, and what a stranger sends is dealt with at any price. So methods of the
*instances* of a channel, a connection and its key exchange are wrapped (``_EXPECTED`` names them); asyncssh's own run inside and
check every signature.

**What a stranger may cost** is bounded where packets are read: their length and number before the login, a name's and a
password's length before they are prepared (asyncssh does that on the event loop, some two microseconds a byte), what waits while
one is dealt with, and one check of a password at a time. Key exchanges, also later ones, wait for their turn (``key_exchanges``).

``check_asyncssh`` refuses to start on a release that has them in another shape, and if one were passed by all the same,
nobody gets in: keys are accepted through the wrapper only, and ``Gatekeeper.auth_completed`` asks for every proof again.

Nothing here blocks.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import asyncssh
from asyncssh.packet import SSHPacket

from sftpgate.errors import KeyRefused, SettingsError
from sftpgate.policy.login import LoginRefusal
from sftpgate.users.keys.formats import wire_type
from sftpgate.users.logins import Judgement

_VERIFIED = 0x04  # OpenSSH's PROTOCOL.u2f: the flag "user verification"; 0x01, the touch, is asyncssh's own check
_COUNTER_BYTES = 4
PACKET_OVERHEAD = 64  # what a small deferred packet costs at least
_LEARNING = ("OpenSSH_", "AsyncSSH_")  # OpenSSH's PROTOCOL §2.5, UpdateHostKeys
_USERAUTH = b"ssh-userauth"  # RFC 4252 §4

MAX_LOGIN_PACKET_BYTES = 35_000  # what RFC 4253 §6.1 asks for; the largest honest one has a certificate of RSA, below 16 KiB
MAX_LOGIN_PACKETS = 400  # each of MAX_LOGIN_REQUESTS, with what some clients send beside it
MAX_LOGIN_NAME_BYTES = 255  # longer than the names of users can be; of what asyncssh would prepare
MAX_LOGIN_SECRET_BYTES = 1100  # of what follows the method: a password of MAX_PASSWORD_BYTES, and what is around it
MAX_WAITING_BYTES = (
    256 * 1024
)  # that a client may send while its packet is dealt with; in a key exchange it sends a packet or two
_USERAUTH_REQUEST = 50
_KEY_METHOD = b"publickey"

_EXPECTED = (
    (asyncssh.SSHServerConnection, "validate_public_key", ["self", "username", "key_data", "msg", "signature"]),
    (asyncssh.SSHServerConnection, "send_userauth_success", ["self"]),
    (asyncssh.SSHServerConnection, "send_userauth_failure", ["self", "partial_success"]),
    (asyncssh.SSHServerConnection, "_finish_userauth", ["self", "begin_auth", "method", "packet"]),
    (asyncssh.SSHServerConnection, "send_server_host_keys", ["self"]),
    (asyncssh.SSHServerConnection, "_make_keepalive_request", ["self"]),
    (asyncssh.SSHServerConnection, "choose_server_host_key", ["self", "peer_host_key_algs"]),
    (asyncssh.SSHServerConnection, "process_packet", ["self", "pkttype", "pktid", "packet"]),
    (asyncssh.SSHServerConnection, "_recv_data", ["self"]),
    (asyncssh.SSHServerConnection, "set_authorized_keys", ["self", "authorized_keys"]),
    (asyncssh.SSHServerChannel, "_process_env_request", ["self", "packet"]),
    (asyncssh.SSHAuthorizedKeys, "validate", ["self", "key", "client_host", "client_addr", "cert_principals", "ca"]),
    (asyncssh.SSHAuthorizedKeys, "validate_x509", ["self", "cert", "client_host", "client_addr"]),
)


class LoginDecider(Protocol):
    """Who decides about a connection's login."""

    def judge(self, username: str, blob: bytes) -> Judgement:
        """Return whether the user may log in with this key or certificate."""

    def refuse_key(self, username: str, refusal: LoginRefusal, login: str) -> None:
        """Note that a key was refused."""

    def key_proven(self, username: str, blob: bytes, judgement: Judgement) -> None:
        """Note that the client has signed with the key."""

    async def asked(self, username: str) -> None:
        """Note that the client sent a request to log in, of whatever kind. Returns when one before it is decided."""

    def refuse_long_secret(self, username: str) -> None:
        """Note that a password was refused for its length."""

    def speaks(self) -> None:
        """Note what the client offers for the exchange of keys."""

    async def exchange(self, kind: str, is_wanted: Callable[[], bool], work: Callable[[], object]) -> object:
        """Have a key exchange of that kind computed when it is its turn; what that returns, None if it is not wanted."""

    def cut_off(self, reason: str) -> None:
        """End the connection at once."""

    def login_complete(self) -> bool:
        """Take one more proof; return True if nothing more is asked for."""


def check_asyncssh() -> None:
    """Raise SettingsError if asyncssh is not of the shape that this module knows."""
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


def guard_login(connection: asyncssh.SSHServerConnection, decider: LoginDecider, signature_algs: Collection[str]) -> None:
    """Let ``decider`` decide about this connection's keys, and about when a login is complete."""
    validate, succeed, fail = (
        connection.validate_public_key,
        connection.send_userauth_success,
        connection.send_userauth_failure,
    )

    finish = connection._finish_userauth  # noqa: SLF001

    async def validate_public_key(username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        judgement = decider.judge(username, key_data)
        refusal = judgement.refusal or signature_refusal(judgement, signature if msg else None, signature_algs)
        if refusal is None:
            connection.set_authorized_keys(_Accepted(judgement))
            try:
                valid = await validate(username, key_data, msg, signature)
            finally:
                connection.set_authorized_keys(None)  # while there are some, keys are offered whatever the decider says
            if valid:
                if msg:
                    decider.key_proven(username, key_data, judgement)
                return True
            refusal = LoginRefusal.WRONG_SIGNATURE
        decider.refuse_key(username, refusal, judgement.login)
        return False

    async def send_userauth_success() -> None:
        if decider.login_complete():
            connection._max_recv_pktlen = longest_packet  # noqa: SLF001
            vars(connection).pop("process_packet", None)
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
        username = connection._username  # noqa: SLF001
        await decider.asked(username)
        if method != _KEY_METHOD and len(packet.get_remaining_payload()) > MAX_LOGIN_SECRET_BYTES:
            decider.refuse_long_secret(username)
            connection.send_userauth_failure(False)
            return
        await finish(begin_auth, method, packet)

    longest_packet = connection._max_recv_pktlen  # noqa: SLF001
    connection._max_recv_pktlen = MAX_LOGIN_PACKET_BYTES  # noqa: SLF001
    _bound_packets(connection)
    connection._finish_userauth = finish_userauth  # type: ignore[method-assign]  # noqa: SLF001
    connection.validate_public_key = validate_public_key  # type: ignore[method-assign]
    connection.send_userauth_success = send_userauth_success  # type: ignore[method-assign]
    connection.send_userauth_failure = send_userauth_failure  # type: ignore[method-assign]


def _bound_packets(connection: asyncssh.SSHServerConnection) -> None:
    """Bound the packets of a connection before its login, by their number, and names before they are prepared."""
    process = connection.process_packet
    packets = 0

    def process_packet(pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        nonlocal packets
        packets += 1
        if packets > MAX_LOGIN_PACKETS:
            raise asyncssh.ProtocolError(f"more than {MAX_LOGIN_PACKETS} packets before the login")
        if pkttype == _USERAUTH_REQUEST:
            name_bytes = int.from_bytes(packet.get_remaining_payload()[:4], "big")
            if name_bytes > MAX_LOGIN_NAME_BYTES:
                raise asyncssh.IllegalUserName("Username too long")
        return process(pkttype, pktid, packet)

    connection.process_packet = process_packet  # type: ignore[method-assign]


def take_turns(connection: asyncssh.SSHServerConnection, decider: LoginDecider) -> None:
    """Have this connection's key exchanges wait for their turn, and bound what it sends meanwhile."""
    choose, receive = connection.choose_server_host_key, connection._recv_data  # noqa: SLF001

    def is_wanted() -> bool:
        return connection._transport is not None  # noqa: SLF001

    def choose_server_host_key(peer_host_key_algs: Sequence[bytes]) -> bool:
        # called once an exchange, when its handler was made, which computes when it gets the client's half
        kex = connection._kex  # noqa: SLF001
        assert kex is not None
        process, kind = kex.process_packet, kex.algorithm.decode("ascii")

        async def process_packet(pkttype: int, pktid: int, packet: SSHPacket) -> None:
            done = await decider.exchange(kind, is_wanted, lambda: process(pkttype, pktid, packet))
            if done is False:
                raise asyncssh.ProtocolError("Unexpected packet in a key exchange")

        kex.process_packet = process_packet  # type: ignore[method-assign]
        decider.speaks()
        return choose(peer_host_key_algs)

    def receive_data() -> None:
        waiting = len(connection._inpbuf)  # noqa: SLF001
        if waiting > MAX_WAITING_BYTES and (connection._kex is not None or not connection._auth_complete):  # noqa: SLF001
            decider.cut_off(f"more than {MAX_WAITING_BYTES} bytes came while it was not their turn")
            return
        receive()

    connection.choose_server_host_key = choose_server_host_key  # type: ignore[method-assign]
    connection._recv_data = receive_data  # type: ignore[method-assign]  # noqa: SLF001


def _learns_host_keys(connection: asyncssh.SSHServerConnection) -> bool:
    """Return whether the client is one that learns host keys. The others must not be told: phpseclib answers the request,
    which wants no answer, and asyncssh ends the connection over that.
    """
    version = str(connection.get_extra_info("client_version") or "")
    return version.partition("-")[2].partition("-")[2].startswith(_LEARNING)


def unread_bytes(connection: asyncssh.SSHServerConnection) -> int:
    """Return how much waits for a client to read it: at the socket, and in asyncssh while keys are exchanged.

    Replies to requests of the SSH layer itself are bounded by no window.
    """
    transport = connection._transport  # noqa: SLF001
    waiting = 0 if transport is None else transport.get_write_buffer_size()
    return waiting + sum(len(part) + PACKET_OVERHEAD for _, parts in connection._deferred_packets for part in parts or (b"",))  # noqa: SLF001


def signature_refusal(judgement: Judgement, signature: bytes | None, allowed: Collection[str]) -> LoginRefusal | None:
    """Return what is wrong with the way in which a client signs, None if nothing is. ``signature`` is None if it only asks.

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
        """Return the options of the line; None for any other key."""
        if key.public_data != self._line.blob or ca is not self._line.cert_authority:
            return None
        options: dict[str, Any] = {"no-touch-required": True} if self._line.has_option("no-touch-required") else {}
        return options | ({"principals": list(self._line.principals)} if self._line.principals else {})

    def validate_x509(self, cert: object, client_host: str, client_addr: str) -> tuple[None, None]:
        """Refuse X.509 certificates."""
        return None, None
