"""What helps somebody else to understand a fault of a gate, without anything that is secret or a person's.

Left out are names of users, files, tools and machines, paths, addresses, contents and every text that somebody chose. What is
in it are versions, which settings were set (with the value if it is a number, a switch or a choice), how many arrivals are in
which state, how often each event was recorded of late, and what ``doctor`` finds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import Enum

from sftpgate.app.doctor.checks import examine
from sftpgate.app.doctor.findings import Level
from sftpgate.app.doctor.versions import versions
from sftpgate.ledger import arrivals
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.policy.disclosure import public_text
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.settings.in_force import in_force
from sftpgate.settings.tree import Settings
from sftpgate.store.filesystems import mount_of
from sftpgate.users.registry import UserRegistry

LATELY = timedelta(days=7)
MOST_COUNTED = 1_000  # arrivals of each state
MOST_EVENTS = 10_000
SET = "(set)"


def bug_report(settings: Settings, ledger: Ledger | None, now: datetime) -> dict[str, object]:
    """Return the report by its sections. ``ledger`` is None before the first start. Looks only."""
    report: dict[str, object] = {
        "versions": versions(),
        "settings": dict(_settings(settings)),
        "filesystems": {name: _filesystem(settings, name) for name in ("store", "drop", "keys_dir")},
        "findings": list(_findings(settings, now)),
    }
    if ledger is None:
        return report | {"ledger": "not made yet"}
    report["ledger"] = {"database": ledger.url.get_backend_name(), "schema": ledger.version()}
    if not ledger.is_current():
        return report
    with ledger.reading() as connection:
        return report | {
            "arrivals": _states(connection),
            "events": _events(connection, now - LATELY),
        }


def _settings(settings: Settings) -> Iterator[tuple[str, object]]:
    """Yield what somebody set; the names of tables are numbers."""
    numbers: dict[str, str] = {}
    for setting in in_force(settings):
        if setting.is_default:
            continue
        *tables, key = setting.name.split(".")
        known = set(Settings.model_fields) | {"contract", "mail", "to", "rules"}
        numbered = [word if word in known else numbers.setdefault(word, str(len(numbers) + 1)) for word in tables]
        yield ".".join([*numbered, key]), _harmless(setting.value)


def _harmless(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case bool() | int() | float() | None:
            return value
        case _:
            return SET


def _filesystem(settings: Settings, name: str) -> str:
    found = mount_of(getattr(settings, name))
    return found.type if found else ""


def _findings(settings: Settings, now: datetime) -> Iterator[dict[str, str]]:
    names = sorted({*UserRegistry(settings.keys_dir).names(), *settings.tools}, key=len, reverse=True)
    chosen = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b") if names else None
    for finding in examine(settings, now):
        if finding.level is not Level.OK:
            text = public_text(finding.finding)
            text = chosen.sub("[name]", text) if chosen else text
            yield {"level": finding.level.value, "check": finding.check, "finding": text}


def _states(connection: Connection) -> dict[str, int]:
    """Return how many arrivals are in each state, up to a bound."""
    found = {state: arrivals.newest(connection, states=[state], limit=MOST_COUNTED) for state in ArrivalState}
    return {state.value: len(of_state) for state, of_state in found.items() if of_state}


def _events(connection: Connection, since: datetime) -> dict[str, int]:
    """Return how often each event was recorded lately, up to a bound."""
    found = event_log.search(connection, event_log.Wanted(since=since), last=MOST_EVENTS)
    return dict(Counter(record.event.event for record in found).most_common())
