"""What a receipt says: how a file stands after something has happened to it, for the program that sent it and for its people.

Pure. One function, ``standing``, makes it of what the record says; ``is_news`` tells whether the sender knows it already. A
receipt's *state* is a word of few, its *code* says more exactly why, and both are promises to programs: a new one may come, none
changes its meaning (docs/receipts/README.md has all of them, and a test compares).

*Final* means: nothing more becomes of this file unless somebody brings it back. If that happens, a later receipt says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sftpgate.policy.actions import Action
from sftpgate.policy.checks import HeldFile, check_of
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.phrases import Sentence, Words, sentence
from sftpgate.policy.runs import RunOutcome


class ReceiptState(StrEnum):
    """How a file stands, as its sender sees it."""

    RECEIVED = "received"  # whole, durable, and on its way to its tool
    HELD = "held"  # whole, and kept from its tool, with a reason
    RELEASED = "released"  # it was held, and is on its way now
    REJECTED = "rejected"  # it goes to no tool
    PROCESSED = "processed"  # a tool ran on it
    TAKEN = "taken"  # a program that says nothing of itself took it
    REPLACED = "replaced"  # a later file of its name took its place
    WITHDRAWN = "withdrawn"  # its sender took it back
    QUARANTINED = "quarantined"  # its tool failed on it too often
    EXPIRED = "expired"  # it was in quarantine for too long, and is gone
    LOST = "lost"  # it is not where it must be


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event of an arrival, by the record. ``path`` is as its sender sees it below the drop, ``state`` is the arrival's after
    the event, ``reason`` and ``detail`` say why it is held.

    ``outcome`` is that of the run which ended with the event, None if none did. ``because`` says why that failed, as far as the
    sender may know, or why an administrator rejected the file. ``is_own_lock``: the batch lock that holds the file is the
    sender's.
    """

    event: str
    path: str
    state: ArrivalState
    reason: HoldReason | None = None
    detail: str = ""
    is_own_lock: bool = True
    outcome: RunOutcome | None = None
    because: Words = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReceipt:
    """What the last receipt of an arrival said."""

    state: ReceiptState
    code: str
    path: str
    text: str  # in English


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatement:
    """What a receipt says of its file. ``texts`` are sentences: what is the case, and what comes next."""

    state: ReceiptState
    code: str
    action: Action
    texts: tuple[Sentence, ...]
    final: bool = False

    @property
    def english(self) -> str:
        """The text in English."""
        return " ".join(map(str, self.texts))


# The events that can change how a file stands. Each has the arrival's state after it.
EVENTS = frozenset(
    {
        "arrival.received",
        "arrival.published",
        "arrival.queued",
        "arrival.held",
        "arrival.held_anew",
        "arrival.set_aside",
        "arrival.replaced",
        "arrival.withdrawn",
        "arrival.discarded",
        "arrival.rejected",
        "arrival.returned",
        "arrival.done",
        "arrival.quarantined",
        "arrival.taken",
        "arrival.taken_back",
        "arrival.lost",
        "arrival.pruned",
        "arrival.found",
    }
)

_PRUNED, _TAKEN_BACK = "arrival.pruned", "arrival.taken_back"
_ON_ITS_WAY = frozenset({ArrivalState.WAITING, ArrivalState.QUEUED})
_FAILED = frozenset({RunOutcome.FAILED, RunOutcome.TIMED_OUT})
_NOTHING_TO_DO = sentence("You need not do anything.")


def standing(what: RecordedEvent, told: LastReceipt | None) -> FileStatement | None:
    """Return how a file stands after ``what``; None if that is nothing that its sender has to know. ``told``: what its last
    receipt said, None if it has none.
    """
    if what.event == _TAKEN_BACK:
        return _taken_back(what)
    if what.event == _PRUNED:
        return _expired() if what.state is ArrivalState.QUARANTINED else None
    if what.state in _ON_ITS_WAY:
        return _on_its_way(what, told)
    match what.state:
        case ArrivalState.HELD:
            return _held(what)
        case ArrivalState.DONE:
            return _processed(what)
        case ArrivalState.QUARANTINED:
            return _quarantined(what)
        case ArrivalState.REJECTED:
            return _rejected(what)
        case ArrivalState.IGNORED:
            return _set_aside() if told is not None else None
        case ArrivalState.CLAIMED:
            return None
        case ArrivalState.DISCARDED if told is not None and told.state is ReceiptState.EXPIRED:
            return None
    return _ENDS[what.state]


def is_news(found: FileStatement, path: str, told: LastReceipt | None) -> bool:
    """Return whether a sender that was ``told`` this last does not know yet how its file stands at ``path``."""
    return told is None or (found.state, found.code, path, found.english) != (told.state, told.code, told.path, told.text)


def code_of(reason: HoldReason) -> str:
    """Return the code of a hold: ``incomplete?`` is ``incomplete``, ``not as agreed`` is ``not-as-agreed``."""
    return re.sub(r"[^a-z]+", "-", reason.value).strip("-")


def _taken_back(what: RecordedEvent) -> FileStatement | None:
    """Say that a file which was to come, and of which the client was told that it failed, did not come; a change of one that was
    there already is not said: it is as it was.
    """
    if what.state is not ArrivalState.WITHDRAWN:
        return None
    return FileStatement(
        state=ReceiptState.REJECTED,
        code="not-stored",
        action=Action.RESEND,
        texts=(sentence("The server could not store the file, and told your client so."), sentence("Send the file again.")),
        final=True,
    )


def _on_its_way(what: RecordedEvent, told: LastReceipt | None) -> FileStatement | None:
    if what.outcome in _FAILED:
        return FileStatement(
            state=ReceiptState.PROCESSED,
            code="failed",
            action=Action.WAIT,
            texts=(_why_failed(what), sentence("It is tried again."), _NOTHING_TO_DO),
        )
    if what.outcome is RunOutcome.NOT_THE_FILE:
        return FileStatement(
            state=ReceiptState.PROCESSED,
            code="postponed",
            action=Action.WAIT,
            texts=(sentence("The platform was not able to take the file, and takes it later."), _NOTHING_TO_DO),
        )
    if what.outcome is not None:
        return None  # it was given back as it was, and nothing is known that was not known before
    if told is not None and told.state in (ReceiptState.HELD, ReceiptState.QUARANTINED):
        return FileStatement(
            state=ReceiptState.RELEASED,
            code="waiting",
            action=Action.WAIT,
            texts=(sentence("The file is held no more, and waits for its tool."), _NOTHING_TO_DO),
        )
    if told is not None and told.state in (ReceiptState.RELEASED, ReceiptState.PROCESSED) and told.path == what.path:
        return None  # it moves up in its queue
    return FileStatement(
        state=ReceiptState.RECEIVED,
        code="waiting",
        action=Action.WAIT,
        texts=(sentence("The file has arrived whole, is stored durably, and waits for its tool."), _NOTHING_TO_DO),
    )


def _held(what: RecordedEvent) -> FileStatement:
    assert what.reason is not None
    check = check_of(what.reason)
    held = HeldFile(name=what.path.rpartition("/")[2], detail=what.detail, is_own_lock=what.is_own_lock)
    if what.reason is HoldReason.UNCHECKED:
        texts: tuple[Sentence, ...] = (
            sentence("The file has arrived whole, is stored durably, and is being checked against what its tool expects."),
            _NOTHING_TO_DO,
        )
        return FileStatement(state=ReceiptState.RECEIVED, code=code_of(what.reason), action=check.action, texts=texts)
    return FileStatement(state=ReceiptState.HELD, code=code_of(what.reason), action=check.action, texts=check.for_sender(held))


def _processed(what: RecordedEvent) -> FileStatement:
    if what.outcome is RunOutcome.DONE_WITH_REJECTED:
        return FileStatement(
            state=ReceiptState.PROCESSED,
            code="accepted-with-errors",
            action=Action.FIX,
            texts=(
                sentence("The tool has taken the file, but not all of its rows."),
                sentence("Correct the rejected rows, and send them again."),
            ),
            final=True,
        )
    return FileStatement(
        state=ReceiptState.PROCESSED,
        code="accepted",
        action=Action.NONE,
        texts=(sentence("The tool has taken the file."), _NOTHING_TO_DO),
        final=True,
    )


def _quarantined(what: RecordedEvent) -> FileStatement:
    return FileStatement(
        state=ReceiptState.QUARANTINED,
        code="failed",
        action=Action.FIX,
        texts=(
            _why_failed(what),
            sentence("The file is set aside and is not tried again."),
            sentence("Correct it and send it again, or ask the administrators."),
        ),
        final=True,
    )


def _rejected(what: RecordedEvent) -> FileStatement:
    return FileStatement(
        state=ReceiptState.REJECTED,
        code="refused",
        action=Action.FIX,
        texts=(
            sentence("The administrators of this server refused the file: {because}.", because=what.because),
            sentence("Correct it and send it again, or ask them."),
        ),
        final=True,
    )


def _why_failed(what: RecordedEvent) -> Sentence:
    if what.because:
        return sentence("The tool could not process the file: {because}.", because=what.because)
    if what.outcome is RunOutcome.TIMED_OUT:
        return sentence("The tool took too long for the file, and was stopped.")
    return sentence("The tool could not process the file.")


def _set_aside() -> FileStatement:
    return FileStatement(
        state=ReceiptState.WITHDRAWN,
        code="set-aside",
        action=Action.NONE,
        texts=(
            sentence("You gave the file a name that is never taken."),
            sentence("Give it its right name, and it is taken again."),
        ),
    )


def _expired() -> FileStatement:
    return FileStatement(
        state=ReceiptState.EXPIRED,
        code="expired",
        action=Action.RESEND,
        texts=(
            sentence("The file was set aside for longer than such files are kept, and is gone."),
            sentence("Send the file again if it is still wanted."),
        ),
        final=True,
    )


_ENDS = {
    ArrivalState.REPLACED: FileStatement(
        state=ReceiptState.REPLACED,
        code="replaced",
        action=Action.NONE,
        texts=(sentence("A later file of its name took the place of the file before a tool had taken it."), _NOTHING_TO_DO),
        final=True,
    ),
    ArrivalState.WITHDRAWN: FileStatement(
        state=ReceiptState.WITHDRAWN,
        code="removed",
        action=Action.NONE,
        texts=(sentence("You removed the file before a tool had taken it."), _NOTHING_TO_DO),
        final=True,
    ),
    ArrivalState.DISCARDED: FileStatement(
        state=ReceiptState.REJECTED,
        code="removed",
        action=Action.CALL,
        texts=(
            sentence("The administrators of this server removed the file: it is not processed."),
            sentence("Ask them why, and send the file again if it is wanted."),
        ),
        final=True,
    ),
    ArrivalState.TAKEN: FileStatement(
        state=ReceiptState.TAKEN,
        code="taken",
        action=Action.NONE,
        texts=(sentence("A program of the platform took the file. What it did with it is not known here."), _NOTHING_TO_DO),
        final=True,
    ),
    ArrivalState.LOST: FileStatement(
        state=ReceiptState.LOST,
        code="lost",
        action=Action.RESEND,
        texts=(sentence("The file is not on the server any more, and no tool has taken it."), sentence("Send the file again.")),
        final=True,
    ),
}
