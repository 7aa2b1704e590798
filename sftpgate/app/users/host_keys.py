"""The server's own keys, for the ERP's admin to compare, and their rotation."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sftpgate.app.audit import record_act
from sftpgate.errors import NotFound, Refused
from sftpgate.ledger.audit.actor import Actor
from sftpgate.settings.tree import Settings
from sftpgate.users.host_keys import rotation
from sftpgate.users.host_keys.files import ensure_host_keys, host_key_fingerprints, known_hosts_line, sshfp_record
from sftpgate.users.host_keys.rotation import Rotation

_EVERYWHERE = ("", "0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 - compared, not listened on


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKeyRecord:
    """A host key, "in use" or "next", with its lines for a client's known_hosts and for the DNS."""

    type: str
    bits: int
    fingerprint: str
    state: str
    in_use_from: datetime | None
    known_hosts: str
    sshfp: str


def host_keys(settings: Settings, host: str = "", port: int = 0) -> list[HostKeyRecord]:
    """Return the host keys; makes none. ``host`` and ``port`` are what clients connect to: as the settings have it, if not given.

    Raises NotFound if there are none yet.
    """
    name, number = host or _own_name(settings.host), port or settings.port
    under_way = rotation.pending_rotation(settings.keys_dir)
    keys = [(key, "in use") for key in host_key_fingerprints(settings.keys_dir)]
    keys += [(key, "next") for key in (under_way.keys if under_way else ())]
    if not keys:
        raise NotFound("there are no host keys yet: the first `sftpgate serve` makes them")
    return [
        HostKeyRecord(
            type=key.type,
            bits=key.bits,
            fingerprint=key.fingerprint,
            state=state,
            in_use_from=under_way.due_at if under_way and state == "next" else None,
            known_hosts=known_hosts_line(key, name, number),
            sshfp=sshfp_record(key, name),
        )
        for key, state in keys
    ]


def begin_rotation(settings: Settings, actor: Actor, overlap: timedelta) -> Rotation:
    """Make new host keys, which running servers announce at once and show when the overlap has passed."""
    ensure_host_keys(settings.keys_dir)
    begun = rotation.begin_rotation(settings.keys_dir, datetime.now(UTC) + overlap)
    record_act(settings, actor, "host_keys.rotation_begun", fingerprints=", ".join(key.fingerprint for key in begun.keys))
    return begun


def finish_rotation(settings: Settings, actor: Actor) -> None:
    """Let the next keys take over now. Raises Refused if no rotation is under way."""
    if not rotation.finish_rotation(settings.keys_dir):
        raise Refused("no rotation is under way")
    record_act(settings, actor, "host_keys.rotation_finished")


def cancel_rotation(settings: Settings, actor: Actor) -> None:
    """Forget the next keys."""
    rotation.cancel_rotation(settings.keys_dir)
    record_act(settings, actor, "host_keys.rotation_cancelled")


def _own_name(listening: str) -> str:
    return socket.gethostname() if listening in _EVERYWHERE else listening
