"""What the sender of a held file is told, and when: the text of the report that it finds under /reports.

Pure. Some holds are the sender's own doing and end in a moment (a set of files under the batch lock): those are reported only
when they last, so that /reports does not fill with what was no trouble.
"""

from __future__ import annotations

from datetime import timedelta

from sftpgate.policy.lifecycle import HoldReason

# How long a hold lasts before its sender is told. Ten minutes: longer than anybody feeds a set of files.
REPORT_AFTER = {
    HoldReason.INCOMPLETE: timedelta(0),
    HoldReason.CHECKSUM_MISMATCH: timedelta(0),
    HoldReason.BATCH_LOCK: timedelta(minutes=10),
    HoldReason.AWAITING_DONE: timedelta(minutes=10),
    HoldReason.SKIPPED_NAME: timedelta(0),
}


def explanation(
    reason: HoldReason, name: str, *, batch_lock_name: str, is_own_lock: bool = True, evidence: str = ""
) -> tuple[str, str]:
    """Why a file called ``name`` is held, and what its sender can do: two sentences for the ERP's admin. ``evidence``: what
    speaks against its being complete; ``is_own_lock``: whether the batch lock that holds it is the sender's, not the machine's.
    """
    match reason:
        case HoldReason.INCOMPLETE:
            return (
                f"The upload looks interrupted: {evidence or 'nothing says that it is complete'}.",
                "Send the file again: a complete upload takes its place, and the same content a second time counts as complete. "
                f"Or send {name}.sha256 with its SHA-256, or ask the administrators to release it.",
            )
        case HoldReason.CHECKSUM_MISMATCH:
            return (
                "The checksum file beside it speaks of another content than the one that arrived (its SHA-256 is above).",
                "Send the file again, or send the right checksum file, or remove the wrong one.",
            )
        case HoldReason.BATCH_LOCK:
            if not is_own_lock:
                return (
                    f"A lock {batch_lock_name} that the administrators of this server put there lies in the drop: "
                    "nothing is taken while it is there.",
                    "Wait until they remove it, or ask them: your file need not be sent again.",
                )
            return (
                f"Your {batch_lock_name} lies in the drop: none of your files is taken while it is there.",
                f"Remove {batch_lock_name} when the set of files is complete.",
            )
        case HoldReason.AWAITING_DONE:
            return (
                f"Neither {name}.done nor {name}.ok lies beside it: a file waits for one of them.",
                f"Upload an empty file {name}.done when the file is complete.",
            )
        case HoldReason.SKIPPED_NAME:
            return (
                f'The name {name} contains "lock": the batch tool takes such a name for a lock file, and skips it for ever.',
                "Rename the file, or send it under another name.",
            )
