"""Who changes users and keys, and of which gate: each use case that changes them is given this.

Users and keys are files, which write no events. So each change is put on the record here, in the name of whoever asked for it;
but what a command does is recorded as that command, with its words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sftpgate.app.audit import record_act
from sftpgate.app.context import ledger_of_any_version
from sftpgate.gateway.ssh.algorithms import offer
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.audit.event_log import Detail
from sftpgate.ledger.database.connection import Ledger
from sftpgate.settings.tree import Settings
from sftpgate.users.keys.terms import KeyTerms
from sftpgate.users.registry import UserRegistry


@dataclass(frozen=True, slots=True)
class Access:
    """The users of a gate, for ``actor``, who looks at them or changes them."""

    settings: Settings
    actor: Actor
    registry: UserRegistry = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "registry", UserRegistry(self.settings.keys_dir))

    @property
    def terms(self) -> KeyTerms:
        """On which terms the gate accepts keys, now."""
        return terms_of(self.settings, self.registry)

    @contextmanager
    def ledger(self) -> Iterator[Ledger | None]:
        """Yield the ledger for looking; None before the first start."""
        with ledger_of_any_version(self.settings) as ledger:
            yield ledger

    def record(self, event: str, **details: Detail) -> None:
        """Put a change that was made on the record. Raises LedgerError: the change stands all the same."""
        record_act(self.settings, self.actor, event, **details)


def terms_of(settings: Settings, registry: UserRegistry) -> KeyTerms:
    """Return on which terms the gate of these settings accepts keys, now."""
    return KeyTerms(
        min_rsa_bits=settings.min_rsa_bits,
        signature_algs=offer(settings.algorithms).signature_algs,
        revoked=registry.revocations.in_force(),
    )
