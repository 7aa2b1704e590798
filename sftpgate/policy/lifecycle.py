"""The states of arrivals and uploads, and every transition between them, as data.

Pure. An event that the table does not list for a state raises IllegalTransition and changes nothing.
``docs/internals.md`` has the same tables for people, with who leaves what and who removes it; a test compares the two.

Where the file of an arrival is follows from its state (``PLACE_OF``). A transition that moves the file is recorded in
the ledger before the file is moved, with the place where it was: that record is the journal from which recovery
completes the move.
"""

from __future__ import annotations

from enum import StrEnum

from sftpgate.errors import IllegalTransition


class ArrivalState(StrEnum):
    """Where an arrival stands."""

    IGNORED = "ignored"  # in the drop, under a name that is never taken
    HELD = "held"  # complete, but kept out of the store, with a reason
    WAITING = "waiting"  # in the store under its name, for a runner to claim
    QUEUED = "queued"  # behind an earlier arrival of the same name
    CLAIMED = "claimed"  # a runner has it
    DONE = "done"  # processed and archived
    REPLACED = "replaced"  # a newer one took its place; a runner's input is archived
    WITHDRAWN = "withdrawn"  # removed by its sender
    DISCARDED = "discarded"  # removed by an admin
    REJECTED = "rejected"  # refused by an admin, who has told its sender why; its content is archived
    QUARANTINED = "quarantined"  # failed too often
    TAKEN = "taken"  # a program that knows nothing of claims took the file
    LOST = "lost"  # the file is not where it must be: damage, never normal


class ArrivalEvent(StrEnum):
    """What can happen to an arrival."""

    PUBLISHED = "published"
    QUEUED = "queued"
    HELD = "held"
    SET_ASIDE = "set aside"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"
    DISCARDED = "discarded"
    REJECTED = "rejected"
    CLAIMED = "claimed"
    RETURNED = "returned"
    DONE = "done"
    QUARANTINED = "quarantined"
    TAKEN = "taken"
    LOST = "lost"


_S, _E = ArrivalState, ArrivalEvent

TRANSITIONS: dict[tuple[ArrivalState, ArrivalEvent], ArrivalState] = {
    (_S.IGNORED, _E.PUBLISHED): _S.WAITING,
    (_S.IGNORED, _E.QUEUED): _S.QUEUED,
    (_S.IGNORED, _E.HELD): _S.HELD,
    (_S.IGNORED, _E.SET_ASIDE): _S.IGNORED,
    (_S.IGNORED, _E.REPLACED): _S.REPLACED,
    (_S.IGNORED, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.IGNORED, _E.DISCARDED): _S.DISCARDED,
    (_S.IGNORED, _E.LOST): _S.LOST,
    (_S.HELD, _E.PUBLISHED): _S.WAITING,
    (_S.HELD, _E.QUEUED): _S.QUEUED,
    (_S.HELD, _E.HELD): _S.HELD,
    (_S.HELD, _E.SET_ASIDE): _S.IGNORED,
    (_S.HELD, _E.REPLACED): _S.REPLACED,
    (_S.HELD, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.HELD, _E.DISCARDED): _S.DISCARDED,
    (_S.HELD, _E.REJECTED): _S.REJECTED,
    (_S.HELD, _E.LOST): _S.LOST,
    (_S.WAITING, _E.PUBLISHED): _S.WAITING,
    (_S.WAITING, _E.QUEUED): _S.QUEUED,
    (_S.WAITING, _E.HELD): _S.HELD,
    (_S.WAITING, _E.SET_ASIDE): _S.IGNORED,
    (_S.WAITING, _E.REPLACED): _S.REPLACED,
    (_S.WAITING, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.WAITING, _E.DISCARDED): _S.DISCARDED,
    (_S.WAITING, _E.REJECTED): _S.REJECTED,
    (_S.WAITING, _E.CLAIMED): _S.CLAIMED,
    (_S.WAITING, _E.TAKEN): _S.TAKEN,
    (_S.WAITING, _E.LOST): _S.LOST,
    (_S.QUEUED, _E.PUBLISHED): _S.WAITING,
    (_S.QUEUED, _E.QUEUED): _S.QUEUED,
    (_S.QUEUED, _E.HELD): _S.HELD,
    (_S.QUEUED, _E.SET_ASIDE): _S.IGNORED,
    (_S.QUEUED, _E.REPLACED): _S.REPLACED,
    (_S.QUEUED, _E.WITHDRAWN): _S.WITHDRAWN,
    (_S.QUEUED, _E.DISCARDED): _S.DISCARDED,
    (_S.QUEUED, _E.REJECTED): _S.REJECTED,
    (_S.QUEUED, _E.LOST): _S.LOST,
    (_S.CLAIMED, _E.RETURNED): _S.WAITING,
    (_S.CLAIMED, _E.HELD): _S.HELD,
    (_S.CLAIMED, _E.QUEUED): _S.QUEUED,
    (_S.CLAIMED, _E.REPLACED): _S.REPLACED,
    (_S.CLAIMED, _E.DONE): _S.DONE,
    (_S.CLAIMED, _E.QUARANTINED): _S.QUARANTINED,
    (_S.CLAIMED, _E.TAKEN): _S.TAKEN,
    (_S.CLAIMED, _E.LOST): _S.LOST,
    (_S.QUARANTINED, _E.PUBLISHED): _S.WAITING,
    (_S.QUARANTINED, _E.QUEUED): _S.QUEUED,
    (_S.QUARANTINED, _E.DISCARDED): _S.DISCARDED,
    (_S.QUARANTINED, _E.REJECTED): _S.REJECTED,
    (_S.QUARANTINED, _E.LOST): _S.LOST,
}

UNCLAIMED_STATES = frozenset({_S.IGNORED, _S.HELD, _S.WAITING, _S.QUEUED})  # what its sender still sees in the drop
LIVE_STATES = UNCLAIMED_STATES | {_S.CLAIMED, _S.QUARANTINED}
FINAL_STATES = frozenset(_S) - LIVE_STATES


def after(state: ArrivalState, event: ArrivalEvent) -> ArrivalState:
    """Return the state of an arrival in ``state`` after ``event``. Raises IllegalTransition."""
    try:
        return TRANSITIONS[state, event]
    except KeyError as error:
        raise IllegalTransition(state.value, event.value) from error


class HoldReason(StrEnum):
    """Why a complete arrival is kept out of the store. What each means, and what follows from it: ``checks.CHECKS``."""

    BATCH_LOCK = "batch-lock"
    INCOMPLETE = "incomplete?"
    CHECKSUM_MISMATCH = "checksum mismatch"
    AWAITING_DONE = "awaiting done-file"
    UNCHECKED = "being checked"  # against the contract of its tool
    CONTRACT = "not as agreed"  # the contract of its tool objects
    APPROVAL = "awaiting approval"  # made here to undo a run: people decide whether it runs
    RESTORED = "restored"  # waited in a backup that was brought back: it may have been processed since
    SKIPPED_NAME = "name that is skipped"  # the batch tool that sweeps the store leaves out such names


class Area(StrEnum):
    """The managed places of files; a location in the ledger is ``<area>/<path>``."""

    STAGING = "staging"
    DROP = "drop"
    STORE = "store"
    HELD = "held"
    QUEUE = "queue"
    CLAIMS = "claims"
    LOCKS = "locks"  # batch locks of senders whose name in the drop another one has: see ``handover.placement.batch_locks``
    KEPT = "kept"  # second names of waiting files that replaced others: see ``handover.second_names``
    QUARANTINE = "quarantine"
    ARCHIVES = "archives"
    REPORTS = "reports"


PLACE_OF: dict[ArrivalState, Area | None] = {
    _S.IGNORED: Area.DROP,  # or LOCKS: a sender's batch lock whose name another one has
    _S.HELD: Area.HELD,  # or the drop, if ``checks.is_shown_by_disk``
    _S.WAITING: Area.STORE,
    _S.QUEUED: Area.QUEUE,
    _S.CLAIMED: Area.CLAIMS,
    _S.DONE: Area.ARCHIVES,
    _S.REPLACED: Area.ARCHIVES,  # none for what was never a runner's input
    _S.WITHDRAWN: None,
    _S.DISCARDED: None,
    _S.REJECTED: Area.ARCHIVES,
    _S.QUARANTINED: Area.QUARANTINE,
    _S.TAKEN: None,
    _S.LOST: None,
}


class UploadState(StrEnum):
    """Where an upload stands, from OPEN to its end.

    One that ends without a good CLOSE keeps the state that it has. What is left of it in staging is no upload: whoever resumes
    that begins a new one (see ``uploads.staging``).
    """

    OPEN = "open"
    FAILED = "failed"  # a write failed: sticky, its CLOSE fails too
    PUBLISHED = "published"  # it became an arrival
    DISCARDED = "discarded"  # removed by its user, or it left the file that it is a copy of as it was


class UploadEvent(StrEnum):
    """What can happen to an upload."""

    WRITE_FAILED = "write failed"
    CLOSED = "closed"  # a CLOSE request, and everything was durable
    DROPPED = "dropped"  # removed by its user, or closed without a change


UPLOAD_TRANSITIONS: dict[tuple[UploadState, UploadEvent], UploadState] = {
    (UploadState.OPEN, UploadEvent.WRITE_FAILED): UploadState.FAILED,
    (UploadState.OPEN, UploadEvent.CLOSED): UploadState.PUBLISHED,
    (UploadState.OPEN, UploadEvent.DROPPED): UploadState.DISCARDED,
    (UploadState.FAILED, UploadEvent.WRITE_FAILED): UploadState.FAILED,
    (UploadState.FAILED, UploadEvent.DROPPED): UploadState.DISCARDED,
}


def upload_after(state: UploadState, event: UploadEvent) -> UploadState:
    """Return the state of an upload in ``state`` after ``event``. Raises IllegalTransition."""
    try:
        return UPLOAD_TRANSITIONS[state, event]
    except KeyError as error:
        raise IllegalTransition(state.value, event.value) from error
