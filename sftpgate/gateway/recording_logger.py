"""What is said of a client is said once, and heard three times: by the log, by the audit record, and by the meter.

A ``RecordingLogger`` is the logger that the gateway's connections and sessions speak to. It passes every line on to the log. The
events of ``RECORDED`` go to the trail as well, with the user and the address that the logger was bound to, whatever the
log's level is; those that ``_METERED`` knows are counted. So nobody can be let in, refused or served without all three
knowing, and no caller has to think of it. Does not block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from sftpgate.ledger.audit.actor import STRANGER, SYSTEM, sender
from sftpgate.ledger.audit.event_log import Detail
from sftpgate.ledger.audit.trail import Trail
from sftpgate.logs import Logger
from sftpgate.meter import Meter
from sftpgate.policy.accounts import valid_user_name

# Each is an event of connections, logins or sessions. What happens to arrivals is recorded with them, in the same transaction.
RECORDED = frozenset(
    {
        "address.banned",
        "connection.closed",
        "connection.dropped",
        "connection.ended",
        "connection.refused",
        "login.accepted",
        "login.dropped",
        "login.refused",
        "session.opened",
        "session.closed",
        "session.ending",
        "session.refused",
        "session.bad_packet",
        "recovery.done",
        "request.done",
        "request.failed",
        "request.refused",
        "sweep.done",
        "upload.interrupted",
        "upload.lost",
    }
)

_NOT_DETAILS = frozenset({"component", "user", "address", "source", "exc_info"})


@dataclass(frozen=True, slots=True)
class RecordingLogger:
    """A logger that tells the trail and the meter too. ``bound`` is what ``log`` was bound to."""

    log: Logger
    trail: Trail
    meter: Meter
    bound: Mapping[str, object]

    def bind(self, **facts: object) -> RecordingLogger:
        """Return the same, with more facts in every line."""
        return RecordingLogger(self.log.bind(**facts), self.trail, self.meter, {**self.bound, **facts})

    def debug(self, event: str, **facts: object) -> None:
        """Log something for who looks for a fault."""
        self._hear(event, facts)
        self.log.debug(event, **facts)

    def info(self, event: str, **facts: object) -> None:
        """Log something that happens every day."""
        self._hear(event, facts)
        self.log.info(event, **facts)

    def warning(self, event: str, **facts: object) -> None:
        """Log something that somebody should know."""
        self._hear(event, facts)
        self.log.warning(event, **facts)

    def error(self, event: str, **facts: object) -> None:
        """Log something that somebody must see to."""
        self._hear(event, facts)
        self.log.error(event, **facts)

    def _hear(self, event: str, facts: Mapping[str, object]) -> None:
        if event in _METERED:
            _METERED[event](self.meter, facts)
        if event in RECORDED:
            known = {**self.bound, **facts}
            details = {name: _detail(value) for name, value in known.items() if name not in _NOT_DETAILS and value is not None}
            user = known.get("user")
            actor = sender(str(user)) if user else STRANGER if "address" in known else SYSTEM
            if user and not valid_user_name(str(user)):
                actor, details["claimed_user"] = STRANGER, str(user)
            address = known.get("address", known.get("source"))
            self.trail.note(event, actor=actor, address=None if address is None else str(address), **details)


def recording_logger(log: Logger, trail: Trail, meter: Meter) -> Logger:
    """Return a logger that also records, to be used wherever a logger is."""
    return cast("Logger", RecordingLogger(log, trail, meter, {}))


def _detail(value: object) -> Detail:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _login_accepted(meter: Meter, _facts: Mapping[str, object]) -> None:
    meter.login("accepted")


def _login_refused(meter: Meter, facts: Mapping[str, object]) -> None:
    meter.login(str(facts.get("reason", "refused")))


def _published(meter: Meter, facts: Mapping[str, object]) -> None:
    meter.upload("published" if facts.get("reason") is None else "held", _int(facts.get("size")))
    if isinstance(seconds := facts.get("seconds"), float):
        meter.published(seconds)


def _interrupted(meter: Meter, facts: Mapping[str, object]) -> None:
    meter.upload("interrupted", _int(facts.get("size")))


def _refused(meter: Meter, facts: Mapping[str, object]) -> None:
    meter.connection_refused()


def _session_closed(meter: Meter, facts: Mapping[str, object]) -> None:
    meter.session(_int(facts.get("received_bytes")), _int(facts.get("sent_bytes")))


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


_METERED: Mapping[str, Callable[[Meter, Mapping[str, object]], None]] = {
    "login.accepted": _login_accepted,
    "login.refused": _login_refused,
    "upload.published": _published,
    "upload.interrupted": _interrupted,
    "connection.refused": _refused,
    "session.closed": _session_closed,
}
