"""What a notification is about, who is told of it, and when: pure rules over an event of the audit record.

An event has one or more kinds: its own name, and what it amounts to. ``run.ended`` of a tool that failed is ``run.failed`` too,
and ``arrival.received`` of a file that a check holds is ``arrival.held``. A rule names kinds, with ``*`` and ``?``; the last kind
that an event has is what its message is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from functools import lru_cache

from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.runs import RunOutcome

Fact = str | int | float | bool | None

LOCAL_FILES = "-"  # in a rule's ``users``: files without a sender
ABOUT_US = "notify."  # events of the notifications themselves

# Holds that are the normal course of things: the file waits for something that its sender has announced, or for a check.
_AWAITING = frozenset({HoldReason.BATCH_LOCK, HoldReason.AWAITING_DONE, HoldReason.UNCHECKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event, as rules and texts see it. ``user`` is the sender whose file it is about, or who acted; empty: none. ``path``,
    ``size`` and ``arrival`` are of that file. ``details`` are the event's own.
    """

    seq: int
    at: datetime
    event: str
    actor: str = ""
    user: str = ""
    arrival: str = ""
    path: str = ""
    size: int | None = None
    tool: str = ""
    details: Mapping[str, Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``digest`` None: as the way of each receiver has it."""

    name: str
    events: tuple[str, ...]
    users: tuple[str, ...] = ("*",)
    tools: tuple[str, ...] = ("*",)
    to: tuple[str, ...]
    digest: timedelta | None = None
    urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """When somebody is not disturbed: from ``begin`` to ``end`` of each day in ``zone``, and on whole ``days`` (0: Monday)."""

    begin: time | None = None
    end: time | None = None
    days: frozenset[int] = frozenset()
    zone: tzinfo


def kinds_of(event: str, details: Mapping[str, Fact]) -> tuple[str, ...]:
    """Return the kinds of an event, the most telling one last."""
    if event == "run.ended":
        return (event, f"run.{_slug(str(details.get('outcome', 'ended')))}")
    is_held = details.get("state") == ArrivalState.HELD
    if is_held and event in ("arrival.received", "arrival.held", "arrival.held_anew"):
        hold = "arrival.awaiting" if details.get("reason") in _AWAITING else "arrival.held"
        return (event, hold) if event != hold else (event,)
    return (event,)


def _slug(outcome: str) -> str:
    """Return an outcome as a part of a name: ``timed_out``, ``not_the_files_fault``."""
    return outcome.replace("'", "").replace(" ", "_")


_DERIVED: Mapping[str, tuple[str, ...]] = {
    "run.ended": tuple(f"run.{_slug(outcome)}" for outcome in RunOutcome),
    "arrival.received": ("arrival.held", "arrival.awaiting"),
    "arrival.held": ("arrival.awaiting",),
    "arrival.held_anew": ("arrival.held", "arrival.awaiting"),
}


def wanted_events(rules: Sequence[Rule]) -> set[str]:
    """Return names and patterns of the events of the record that could fit one of the rules."""
    patterns = {pattern for rule in rules for pattern in rule.events}
    also = {event for event, kinds in _DERIVED.items() for kind in kinds if any(_matches(pattern, kind) for pattern in patterns)}
    return patterns | also


def fits(rule: Rule, happened: Happened) -> bool:
    """Return whether somebody is told of this by ``rule``."""
    return (
        any(_matches(pattern, kind) for pattern in rule.events for kind in _told_kinds(happened))
        and any(_matches(pattern, happened.user or LOCAL_FILES) for pattern in rule.users)
        and any(_matches(pattern, happened.tool) for pattern in rule.tools)
    )


def _told_kinds(happened: Happened) -> tuple[str, ...]:
    """Return the kinds by which rules know an event: what is only awaited is never said to be held."""
    kinds = kinds_of(happened.event, happened.details)
    return kinds[-1:] if kinds[-1] == "arrival.awaiting" and happened.event != "arrival.received" else kinds


def unknown_patterns(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the patterns of a rule that fit no kind there is."""
    return [pattern for pattern in patterns if not any(_matches(pattern, kind) for kind in known)]


def due_at(now: datetime, gathered: timedelta, quiet: Quiet | None) -> datetime:
    """Return when a message of ``now`` is sent: after it was ``gathered``, and not in quiet hours. ``quiet`` None: any hour."""
    due = now + gathered
    return due if quiet is None else _first_loud(due, quiet)


def _first_loud(at: datetime, quiet: Quiet) -> datetime:
    """Return the first moment from ``at`` on that is not quiet. Days and hours are those of the zone, also when clocks change."""
    moment = at.astimezone(quiet.zone)
    for _ in range(16):  # a week has at most seven quiet days, each with an end of hours before and behind it
        if moment.weekday() in quiet.days:
            moment = _at(moment + timedelta(days=1), time(0), quiet.zone)
        elif (end := _end_of_quiet(moment, quiet)) is not None:
            moment = end
        else:
            break
    return max(at, moment.astimezone(at.tzinfo))


def _end_of_quiet(moment: datetime, quiet: Quiet) -> datetime | None:
    """Return the end of the quiet hours that ``moment`` lies in, or None."""
    if quiet.begin is None or quiet.end is None:
        return None
    clock = moment.time()
    if quiet.begin < quiet.end:
        return _at(moment, quiet.end, quiet.zone) if quiet.begin <= clock < quiet.end else None
    if clock >= quiet.begin:
        return _at(moment + timedelta(days=1), quiet.end, quiet.zone)
    return _at(moment, quiet.end, quiet.zone) if clock < quiet.end else None


def _at(day: datetime, clock: time, zone: tzinfo) -> datetime:
    return datetime.combine(day.date(), clock, zone)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern))


def _matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None
