"""Admission: what happens to a connection before SSH begins.

Its true address is found (behind a proxy: in the PROXY header), then bans and limits are asked; the supervisor counts for
all workers, and a user's connections and sessions are counted by locks (``user_slots``). A refused connection is closed
without a word, because a banned address gets no work done; the log says why. Everything behind it (logs, bans,
``from=``) knows the true address only.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sftpgate.errors import BadMessage
from sftpgate.gateway.admission.bans import Bans
from sftpgate.gateway.admission.client import AdmissionClient
from sftpgate.gateway.admission.proxy import read_header
from sftpgate.gateway.admission.rules import Stage, Visitor
from sftpgate.logs import Logger
from sftpgate.policy.bans import Offence
from sftpgate.policy.login import LoginRefusal, address_matches
from sftpgate.store.shared.user_slots import UserSlot, UserSlots

SILENT_SECONDS = 60.0  # refusals of one source are logged once in so long
MAX_SILENCED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    """The settings of the same names, for all processes together."""

    max_connections_per_user: int
    max_sessions_per_user: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Networks of proxies, and the time that they have for their header: they send it at once."""

    networks: Sequence[str]
    header_seconds: float


class Admission:
    """Lets connections in, or not. One per process."""

    def __init__(self, bans: Bans, user_slots: UserSlots, limits: UserLimits, proxies: Proxies, log: Logger) -> None:
        self.bans = bans
        bans.refreshed = self._end_banned
        self._user_slots = user_slots
        self._limits = limits
        self._proxies = proxies
        self._log = log
        self._said: dict[str, float] = {}
        self._inside: dict[Visitor, AdmissionClient] = {}
        self._held: dict[Visitor, UserSlot] = {}

    async def admit(
        self, connection: socket.socket, admission_client: AdmissionClient, hang_up: Callable[[str], None]
    ) -> Visitor | None:
        """Return the visitor of an accepted connection, or None if it is refused. ``hang_up`` must end the connection."""
        address = _peer(connection)
        if address is None:
            return None
        if self._proxies.networks and address_matches(address, self._proxies.networks):
            client = await self._behind_proxy(connection, address)
            if client is None:
                return None
            address = client
        ban = self.bans.ban_of(address)
        if ban is not None:
            until = ban.banned_until.isoformat(timespec="seconds") if ban.banned_until else "it is removed"
            self._refused(address, ban.source, f"banned address until {until}: {ban.reason}")
            return None
        visitor = Visitor(address, hang_up, named=self.bans.is_named(address))
        refusal = await admission_client.enter(visitor)
        if refusal is not None:
            self._refused(address, visitor.source, refusal)
            return None
        self._inside[visitor] = admission_client
        return visitor

    def progressed(self, visitor: Visitor, stage: Stage) -> None:
        """Note that the visitor has made a step towards its login."""
        if (admission_client := self._inside.get(visitor)) is not None:
            admission_client.progressed(stage)

    def failed(self, visitor: Visitor, failure: LoginRefusal | Offence) -> None:
        """Count a login of the visitor that failed, or did not come in time."""
        self.bans.failed(visitor.address, failure)

    def logged_in(self, visitor: Visitor, user: str) -> str | None:
        """Let a visitor be a user's, now that it has logged in. Returns the reason if the user has too many connections
        already.
        """
        self._inside[visitor].logged_in()
        self.bans.succeeded(visitor.address)
        slot = self._user_slots.take(f"connection {user}", self._limits.max_connections_per_user)
        if slot is None:
            return "too many connections of this user at a time (rule: max_connections_per_user)"
        self._held[visitor] = slot
        return None

    def left(self, visitor: Visitor) -> None:
        """Give back what the visitor had: it is gone."""
        self._inside.pop(visitor, None)
        if (slot := self._held.pop(visitor, None)) is not None:
            self._user_slots.leave(slot)

    def begin_session(self, user: str) -> UserSlot | None:
        """Return a place for one more session of a user, to be given back by ``end_session``; None if there are too many."""
        return self._user_slots.take(f"session {user}", self._limits.max_sessions_per_user)

    def end_session(self, slot: UserSlot) -> None:
        """Give back the place of a session that has ended."""
        self._user_slots.leave(slot)

    def _end_banned(self) -> None:
        """End the open connections of banned addresses. Failures of strangers end no connection that has logged in, because
        others may share the address; an admin who bans it means all of them.
        """
        for visitor in list(self._inside):
            ban = self.bans.ban_of(visitor.address) if self.bans.is_any else None
            if ban is not None and (ban.by_admin or visitor not in self._held):
                visitor.hang_up(f"its address was banned: {ban.reason}")

    async def _behind_proxy(self, connection: socket.socket, proxy: str) -> str | None:
        try:
            async with asyncio.timeout(self._proxies.header_seconds):
                return await read_header(connection) or proxy
        except TimeoutError:
            reason = f"no PROXY header within {self._proxies.header_seconds:g} seconds (rule: proxy_protocol_timeout)"
        except BadMessage as error:
            reason = f"{error.message} (rule: proxy_protocol_from)"
        except OSError as error:
            reason = f"the connection broke off within the PROXY header: {error.strerror}"
        self._log.warning("connection.refused", address=proxy, reason=reason)
        return None

    def _refused(self, address: str, source: str, reason: str) -> None:
        """Log a refusal, once a minute for each source: a flood must not fill the log."""
        now = asyncio.get_running_loop().time()
        if now - self._said.get(source, -SILENT_SECONDS) < SILENT_SECONDS:
            return
        if len(self._said) >= MAX_SILENCED:
            self._said.clear()
        self._said[source] = now
        self._log.warning("connection.refused", address=address, reason=reason)


def _peer(connection: socket.socket) -> str | None:
    try:
        return str(connection.getpeername()[0])
    except OSError:  # it is gone already
        return None
