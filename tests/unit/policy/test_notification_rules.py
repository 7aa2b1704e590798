"""What a notification is about, and when it is sent: kinds, patterns, digests and quiet hours."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.generate import ROOT
from sftpgate.policy.event_texts import FAMILIES, LABELS, TEXTS, known_kinds, told
from sftpgate.policy.lifecycle import ArrivalEvent
from sftpgate.policy.notification_rules import Happened, Quiet, Rule, due_at, fits, kinds_of, wanted_events
from sftpgate.policy.runs import RunOutcome
from sftpgate.settings.choices import Language

PARIS = ZoneInfo("Europe/Paris")
NIGHT = Quiet(begin=time(20), end=time(7), zone=PARIS)


@pytest.mark.parametrize(
    ("event", "details", "kinds"),
    [
        ("run.ended", {"outcome": "timed out"}, ("run.ended", "run.timed_out")),
        ("run.ended", {"outcome": "not the file's fault"}, ("run.ended", "run.not_the_files_fault")),
        ("arrival.received", {"state": "held", "reason": "not as agreed"}, ("arrival.received", "arrival.held")),
        ("arrival.received", {"state": "held", "reason": "being checked"}, ("arrival.received", "arrival.awaiting")),
        ("arrival.received", {"state": "waiting"}, ("arrival.received",)),
        ("arrival.held", {"state": "held", "reason": "not as agreed"}, ("arrival.held",)),
        ("arrival.held", {"state": "held", "reason": "batch-lock"}, ("arrival.held", "arrival.awaiting")),
        ("login.refused", {}, ("login.refused",)),
    ],
)
def test_kinds(event: str, details: dict[str, str], kinds: tuple[str, ...]) -> None:
    """An event has its name, and what it amounts to; each of them has a text."""
    assert kinds_of(event, details) == kinds
    assert set(kinds) <= set(TEXTS)


def test_what_is_only_awaited_is_not_held() -> None:
    """Who asks for held files is not told of a file that waits for its done-file."""
    rule = Rule(name="r", events=("arrival.held",), to=("x",))
    details = {"state": "held", "reason": "awaiting done-file"}
    happened = Happened(seq=1, at=datetime(2026, 1, 1, tzinfo=UTC), event="arrival.held", details=details)
    assert not fits(rule, happened)


def test_what_is_read_of_the_record() -> None:
    """A rule for what an event amounts to reads the event; a pattern reads what it fits."""
    rules = [Rule(name="a", events=("run.failed",), to=("x",)), Rule(name="b", events=("cli.*", "arrival.held"), to=("x",))]
    assert wanted_events(rules) == {"run.failed", "run.ended", "cli.*", "arrival.held", "arrival.received", "arrival.held_anew"}


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-03-02T19:59", "2026-03-02T19:59"),
        ("2026-03-02T20:00", "2026-03-03T07:00"),
        ("2026-03-03T06:59", "2026-03-03T07:00"),
        ("2026-03-03T07:00", "2026-03-03T07:00"),
        ("2026-03-28T23:00", "2026-03-29T07:00"),  # the night in which clocks go forward
        ("2026-10-24T23:00", "2026-10-25T07:00"),  # and back
    ],
)
def test_quiet_hours_are_those_of_the_zone(now: str, due: str) -> None:
    """Quiet hours end when the clock on the wall says so, also in the night of a clock change."""
    at = datetime.fromisoformat(now).replace(tzinfo=PARIS).astimezone(UTC)
    wanted = datetime.fromisoformat(due).replace(tzinfo=PARIS)
    assert due_at(at, timedelta(0), NIGHT) == wanted


def test_a_quiet_weekend() -> None:
    """What comes on a quiet Friday night is sent on Monday morning."""
    quiet = Quiet(begin=time(20), end=time(7), days=frozenset({5, 6}), zone=PARIS)
    friday = datetime(2026, 3, 6, 21, tzinfo=PARIS)
    assert due_at(friday, timedelta(0), quiet) == datetime(2026, 3, 9, 7, tzinfo=PARIS)


@given(
    now=st.integers(0, 8760).map(lambda hours: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours)),
    begin=st.times(),
    end=st.times(),
    days=st.frozensets(st.integers(0, 6), max_size=6),
    zone=st.sampled_from(["Europe/Paris", "America/St_Johns", "Pacific/Apia", "UTC"]),
)
def test_nothing_is_sent_in_quiet_time(now: datetime, begin: time, end: time, days: frozenset[int], zone: str) -> None:
    """Whatever the hours, a message is due at a moment that is not quiet, not before now, and within eight days."""
    if begin == end:
        return
    quiet = Quiet(begin=begin.replace(tzinfo=None), end=end.replace(tzinfo=None), days=days, zone=ZoneInfo(zone))
    due = due_at(now, timedelta(0), quiet)
    assert now <= due <= now + timedelta(days=9)
    assert due_at(due, timedelta(0), quiet) == due


def test_every_text_is_in_both_languages() -> None:
    """Each kind and label has a sentence in English and another one in French, with the same values in them."""
    import string

    for name, text in {**TEXTS, **LABELS}.items():
        values = [{field for _, field, _, _ in string.Formatter().parse(each) if field} for each in (text.english, text.french)]
        assert values[0] == values[1], name
        assert text.english != text.french or name == "arrival", name
    assert set(FAMILIES) < set(known_kinds())


def test_a_text_without_its_values() -> None:
    """What an event does not say is left out; what has no text is told by its name; braces in a name stay what they are."""
    assert told("run.failed", Language.ENGLISH, {"file": "a{0}.csv"}) == " has failed with a{0}.csv."
    assert told("receipt.written", Language.FRENCH, {"name": "enrols"}) == "receipt.written: enrols"


def recorded_names() -> set[str]:
    """The names of the events about files and runs that the code writes as constants."""
    found: set[str] = set()
    for module in sorted((ROOT / "sftpgate").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "note" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return {name for name in found if name.startswith(("arrival.", "run."))}


def test_every_event_of_a_file_has_a_text() -> None:
    """Whatever is put on the record about a file, or is done to it, can be told in both languages; so can each end of a run."""
    names = recorded_names()
    assert {"arrival.received", "run.ended", "arrival.pruned"} <= names
    names |= {f"arrival.{event.replace(' ', '_')}" for event in ArrivalEvent}
    names |= {kinds_of("run.ended", {"outcome": outcome})[-1] for outcome in RunOutcome}
    assert names - set(TEXTS) == set()
