"""Files that a backup brings back: whether one has the time that was recorded, and why one is not taken again by itself.

A backup keeps a time as its form can: a plain ``tar`` in whole seconds, others in micro- or milliseconds, FAT in two seconds.
Such a file has the recorded time, cut to one of these. A file with any other time is a new one, whatever its content.
"""

from __future__ import annotations

from sftpgate.policy.lifecycle import ArrivalState

_UNITS_NS = (100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000)
COARSEST_NS = _UNITS_NS[-1]

_REASONS = {
    ArrivalState.DONE: "this very file was processed before",
    ArrivalState.REPLACED: "this very file was replaced by a newer one before",
    ArrivalState.WITHDRAWN: "this very file was removed by its sender before",
    ArrivalState.DISCARDED: "this very file was removed before",
    ArrivalState.REJECTED: "this very file was rejected before",
    ArrivalState.TAKEN: "another program took this very file before",
}

# Of a file that no arrival has, in a gate that was brought back: nothing that is left knows whether it was processed since.
LAY_HERE = (
    "it lay here when a backup was brought back, and may have been processed since; touch it, or `sftpgate release --restored`, "
    "to have it taken"
)


def is_time_kept(recorded_ns: int, found_ns: int) -> bool:
    """Return whether a file's time is the recorded one, as exact as a backup kept it."""
    return found_ns == recorded_ns or any(found_ns == recorded_ns - recorded_ns % unit for unit in _UNITS_NS)


def left_alone(state: ArrivalState, *, has_tool: bool) -> str | None:
    """Return why a file that came to its end in this way is not taken again by itself; None if it is.

    One that is recorded as taken was not seen by the tool that is pointed at it, if there is one: nobody processed it.
    """
    if state is ArrivalState.TAKEN and has_tool:
        return None
    reason = _REASONS.get(state)
    return None if reason is None else f"{reason}; touch it to have it taken again"


def lay_here(changed_ns: int, restored_at_ns: int | None) -> bool:
    """Return whether a file lay there when a backup was brought back. ``changed_ns`` is its change time, which no copy brings
    along and which each touch makes new; ``restored_at_ns``: None if no backup was, or if an admin has let all of it go.
    """
    return restored_at_ns is not None and changed_ns <= restored_at_ns
