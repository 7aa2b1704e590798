"""The checks that a complete file passes before runners may see it, in order: the first that objects holds the file.

Pure. A check is one entry of ``CHECKS``: what it objects to, where a file lies that it holds, and what is said about that to the
sender and to the admin. Whoever adds one adds an entry here, its reason to ``HoldReason`` and, if it needs to know something
new, a field to ``Candidate``, which ``handover.placement`` fills. Nothing else lists reasons; a test says so.

The order is a promise: what the content says of itself comes before what its neighbours say, so that nobody waits for a
done-file of half a file. A check looks at plain values alone: whoever reads content for one (a contract of its rows) reads
before the store's lock is taken, and puts the verdict into the candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from sftpgate.logs import printable
from sftpgate.policy.actions import Action
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import HoldReason
from sftpgate.policy.phrases import Sentence, recognised, sentence

MAX_DETAIL = 1000  # characters of an objection's detail: it is one line for people, and a column of the ledger

_AT_ONCE = timedelta(0)
_WHEN_IT_LASTS = timedelta(minutes=10)  # longer than anybody feeds a set of files: /reports is not for what is no trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is known of a complete file that is to be published.

    ``doubt`` says why its grade is ``suspect``. ``checksum_matches`` is None if no checksum file lies beside it, and ``mismatch``
    names the one that speaks of another content. ``batch_lock`` is the name of a batch lock that holds it, None if none does.
    ``is_skipped``: the batch tool that sweeps the store never takes its name. ``was_restored``: it waited in a
    backup that was brought back, and nobody has said since that it was not processed. ``needs_approval``: it was made to undo a
    run, and nobody has let it go. ``is_judged`` is False if its tool has a contract that was not asked yet; ``anew`` says
    what has changed if it was asked before. ``contract`` is what that objects to, None if it does not, and ``warning`` what it
    says of a file that goes on all the same.
    """

    grade: Grade
    doubt: str = ""
    checksum_matches: bool | None = None
    mismatch: str = ""
    has_done_file: bool = False
    batch_lock: str | None = None
    was_restored: bool = False
    is_skipped: bool = False
    needs_approval: bool = False
    is_judged: bool = True
    anew: str = ""
    contract: str | None = None
    warning: str = ""
    require_done_file: bool = False
    publish_suspect: bool = False


@dataclass(frozen=True, slots=True)
class HoldCause:
    """Why a file is held. ``detail`` is a part of a sentence, printable, and empty if the reason says everything."""

    reason: HoldReason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """What the sentences about a hold are made of. ``is_own_lock``: the batch lock that holds the file, whose name is the detail,
    is the sender's own, not one of the administrators.
    """

    name: str
    detail: str = ""
    is_own_lock: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check, and all that is to be known of the holds that it makes.

    ``called`` is the reason for people. ``objects`` returns the detail of its objection, which may be empty, or None if it has no
    objection. ``for_sender`` returns two sentences: why the file is held, and what its sender can do; ``action`` is that in one
    word. ``for_admin`` is what the admin can do. The sender is told as soon as the hold lasts ``report_after``.

    ``shown_by_disk``: the drop itself shows why the file is held, so that the file can lie there under its name and survive the
    loss of the ledger. Files of the other holds lie apart, where no sweep takes them. ``doubts_content``: what is held may be a
    part, or another file than was meant. It gives way to whatever comes after it, and takes nobody's place. ``stands_aside``: it
    takes nobody's place until it is decided about, and gives way to a file that may go on, but in a queue to none.
    ``awaits_verdict``: nobody needs to decide about it, only to wait. ``passes``: it ends
    without anybody's looking at this file. ``by_approval``: nothing but an approval ends it.
    """

    reason: HoldReason
    called: Sentence
    objects: Callable[[Candidate], str | None]
    for_sender: Callable[[HeldFile], tuple[Sentence, Sentence]]
    action: Action
    for_admin: str
    report_after: timedelta
    shown_by_disk: bool = False
    doubts_content: bool = False
    stands_aside: bool = False
    awaits_verdict: bool = False
    passes: bool = False
    by_approval: bool = False


# -- the checks --------------------------------------------------------------------------------------------------------


def _restored(file: Candidate) -> str | None:
    return "" if file.was_restored else None


def _restored_for_sender(_: HeldFile) -> tuple[Sentence, Sentence]:
    return (
        sentence("The server was brought back from a backup in which the file was waiting: it may have been processed since."),
        sentence("You need not do anything: the administrators decide whether it is processed."),
    )


def _mismatch(file: Candidate) -> str | None:
    is_another = file.checksum_matches is False and file.grade is not Grade.VERIFIED
    return file.mismatch if is_another else None


def _mismatch_for_sender(held: HeldFile) -> tuple[Sentence, Sentence]:
    return (
        sentence(
            "The checksum file {name} speaks of another content than the one that arrived (its SHA-256 is above).",
            name=held.detail or sentence("beside it"),
        ),
        sentence("Send the file again, or send the right checksum file, or remove the wrong one."),
    )


def _incomplete(file: Candidate) -> str | None:
    is_believed = file.checksum_matches or file.has_done_file or file.publish_suspect
    return file.doubt if file.grade is Grade.SUSPECT and not is_believed else None


def _incomplete_for_sender(held: HeldFile) -> tuple[Sentence, Sentence]:
    doubt = recognised(held.detail) if held.detail else sentence("nothing says that it is complete")
    return (
        sentence("The upload looks interrupted: {doubt}.", doubt=doubt),
        sentence(
            "Send the file again: a complete upload takes its place, and the same content a second time counts as complete. "
            "Or send {name}.sha256 with its SHA-256, or ask the administrators to release it.",
            name=held.name,
        ),
    )


def _approval(file: Candidate) -> str | None:
    return "" if file.needs_approval else None


def _approval_for_sender(_: HeldFile) -> tuple[Sentence, Sentence]:
    return (
        sentence("The file was made by the administrators to undo what an earlier one did."),
        sentence("You need not do anything: they decide whether it is processed."),
    )


def _unchecked(file: Candidate) -> str | None:
    return None if file.is_judged else file.anew


def _unchecked_for_sender(_: HeldFile) -> tuple[Sentence, Sentence]:
    return (
        sentence("The file is being checked against what its tool expects, and that takes longer than usual."),
        sentence("You need not do anything: it goes on by itself, or a report says what is wrong with it."),
    )


def _contract(file: Candidate) -> str | None:
    return file.contract


def _contract_for_sender(_: HeldFile) -> tuple[Sentence, Sentence]:
    return (
        sentence("The file is not what its tool expects."),
        sentence("Send a corrected file under the same name, or ask the administrators to approve this one if it is right."),
    )


def _skipped_name(file: Candidate) -> str | None:
    return "" if file.is_skipped else None


def _skipped_name_for_sender(held: HeldFile) -> tuple[Sentence, Sentence]:
    return (
        sentence(
            'The name {name} contains "lock": the batch tool takes such a name for a lock file, and skips it for ever.',
            name=held.name,
        ),
        sentence("Rename the file, or send it under another name."),
    )


def _batch_lock(file: Candidate) -> str | None:
    return file.batch_lock


def _batch_lock_for_sender(held: HeldFile) -> tuple[Sentence, Sentence]:
    if not held.is_own_lock:
        return (
            sentence(
                "A lock {lock} that the administrators of this server put there lies in the drop: "
                "nothing is taken while it is there.",
                lock=held.detail,
            ),
            sentence("Wait until they remove it, or ask them: your file need not be sent again."),
        )
    return (
        sentence("Your {lock} lies in the drop: none of your files is taken while it is there.", lock=held.detail),
        sentence("Remove {lock} when the set of files is complete.", lock=held.detail),
    )


def _done_file(file: Candidate) -> str | None:
    return "" if file.require_done_file and not file.has_done_file else None


def _done_file_for_sender(held: HeldFile) -> tuple[Sentence, Sentence]:
    return (
        sentence("Neither {name}.done nor {name}.ok lies beside it: a file waits for one of them.", name=held.name),
        sentence("Upload an empty file {name}.done when the file is complete.", name=held.name),
    )


CHECKS: tuple[Check, ...] = (
    Check(
        reason=HoldReason.RESTORED,
        called=sentence("restored"),
        objects=_restored,
        for_sender=_restored_for_sender,
        action=Action.WAIT,
        for_admin="find out whether it was processed after the backup; then `sftpgate discard` it, or `sftpgate release` it",
        report_after=_WHEN_IT_LASTS,
        stands_aside=True,
    ),
    Check(
        reason=HoldReason.CHECKSUM_MISMATCH,
        called=sentence("checksum mismatch"),
        objects=_mismatch,
        for_sender=_mismatch_for_sender,
        action=Action.RESEND,
        for_admin="have the file and its checksum sent again, or `sftpgate release` it",
        report_after=_AT_ONCE,
        doubts_content=True,
    ),
    Check(
        reason=HoldReason.INCOMPLETE,
        called=sentence("incomplete?"),
        objects=_incomplete,
        for_sender=_incomplete_for_sender,
        action=Action.RESEND,
        for_admin="have it sent again, or `sftpgate release` it if it is complete",
        report_after=_AT_ONCE,
        doubts_content=True,
    ),
    Check(
        reason=HoldReason.APPROVAL,
        called=sentence("awaiting approval"),
        objects=_approval,
        for_sender=_approval_for_sender,
        action=Action.WAIT,
        for_admin="look at it with `sftpgate show`; then `sftpgate approve` it, or `sftpgate reject` it",
        report_after=_WHEN_IT_LASTS,
        stands_aside=True,
        by_approval=True,
    ),
    Check(
        reason=HoldReason.UNCHECKED,
        called=sentence("being checked"),
        objects=_unchecked,
        for_sender=_unchecked_for_sender,
        action=Action.WAIT,
        for_admin="it is being checked; if that does not end, see the log of the server",
        report_after=_WHEN_IT_LASTS,
        stands_aside=True,
        awaits_verdict=True,
        passes=True,
    ),
    Check(
        reason=HoldReason.CONTRACT,
        called=sentence("not as agreed"),
        objects=_contract,
        for_sender=_contract_for_sender,
        action=Action.FIX,
        for_admin="look at it with `sftpgate show` and `sftpgate diff`; then `sftpgate approve` it, or `sftpgate reject` it",
        report_after=_AT_ONCE,
        stands_aside=True,
    ),
    Check(
        reason=HoldReason.SKIPPED_NAME,
        called=sentence("name that is skipped"),
        objects=_skipped_name,
        for_sender=_skipped_name_for_sender,
        action=Action.FIX,
        for_admin='have it sent under a name without "lock": the batch tool skips this one',
        report_after=_AT_ONCE,
    ),
    Check(
        reason=HoldReason.BATCH_LOCK,
        called=sentence("batch-lock"),
        objects=_batch_lock,
        for_sender=_batch_lock_for_sender,
        action=Action.WAIT,
        for_admin="wait until the sender removes its batch lock, or remove it",
        report_after=_WHEN_IT_LASTS,
        shown_by_disk=True,
        passes=True,
    ),
    Check(
        reason=HoldReason.AWAITING_DONE,
        called=sentence("awaiting done-file"),
        objects=_done_file,
        for_sender=_done_file_for_sender,
        action=Action.WAIT,
        for_admin="wait for its done-file, or `sftpgate release` it",
        report_after=_WHEN_IT_LASTS,
        shown_by_disk=True,
        passes=True,
    ),
)

_BY_REASON = {check.reason: check for check in CHECKS}
REPORT_AFTER = {check.reason: check.report_after for check in CHECKS}


# -- asking them -------------------------------------------------------------------------------------------------------


def objections(file: Candidate) -> Iterator[HoldCause]:
    """Yield everything that speaks against publishing ``file``, the objection that holds it first."""
    for check in CHECKS:
        if (detail := check.objects(file)) is not None:
            yield _objection(check, detail)


def first_objection(file: Candidate) -> HoldCause | None:
    """Return why ``file`` is held, or None if it may be published. For each file that arrives, so without a generator."""
    for check in CHECKS:
        if (detail := check.objects(file)) is not None:
            return _objection(check, detail)
    return None


def _objection(check: Check, detail: str) -> HoldCause:
    return HoldCause(check.reason, printable(detail[:MAX_DETAIL]))


def check_of(reason: HoldReason) -> Check:
    """Return the check that holds files for ``reason``."""
    return _BY_REASON[reason]


def is_shown_by_disk(reason: HoldReason | None) -> bool:
    """Return whether a file that is held for ``reason`` may lie in the drop under its name."""
    return reason is not None and _BY_REASON[reason].shown_by_disk


def stands_aside(reason: HoldReason | None) -> bool:
    """Whether a file that is held for ``reason`` takes nobody's place, and gives way to good files only."""
    return reason is not None and _BY_REASON[reason].stands_aside


def doubts_content(reason: HoldReason | None) -> bool:
    """Return whether a file that is held for ``reason`` may be a part, or another one than was meant."""
    return reason is not None and _BY_REASON[reason].doubts_content


def ends_by_itself(reason: HoldReason | None) -> bool:
    """Return whether a file that is held for ``reason`` may go on although nobody decides about it."""
    return reason is not None and _BY_REASON[reason].passes
