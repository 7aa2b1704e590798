"""Regular expressions of the administrator: which are refused, and that a search ends."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftpgate.patterns import MAX_CHARACTERS, PatternUnusable, TookTooLong, compiled, search
from sftpgate.settings.tools import ToolSettings

# What is special in patterns, so that Hypothesis finds those that mean something.
PATTERNS = st.text(st.sampled_from(list("ab(){}[]|*+?\\^$.,:=<>!P&Rd0123456789-")), max_size=40)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "no regular expression"),
        ("[a", "no regular expression"),
        ("(?P<line>\\d+", "no regular expression"),
        ("a{99999999999}", "too often"),
        ("(((a{1000}){1000}){1000})", "too often"),
        ("(ab){1000000}", "too often"),
        ("a(?R)", "calls itself"),
        ("(a(?1)?)", "calls itself"),
        ("(?P<x>a(?&x)?)", "calls itself"),
        ("x" * (MAX_CHARACTERS + 1), "too long"),
        ("(" * 500 + "a" + ")" * 499, "no regular expression"),
    ],
)
def test_patterns_that_are_refused(pattern: str, problem: str) -> None:
    """What is no regular expression, or would take all memory, is refused by the settings with a sentence."""
    with pytest.raises(PatternUnusable, match=problem):
        compiled(pattern)
    for key in ("failed_output", "rejected_output", "row_output", "reason_output", "counts_output", "retry_output"):
        with pytest.raises(ValueError, match=problem):
            ToolSettings.model_validate({"file": "a.csv", "command": ["x"], key: pattern})


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", "2026-01-01 12:00:00 x"),
        (r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "0123abcd-0123-0123-0123-0123456789ab"),
        (r"(?i)error: (?P<reason>.*)", "An ERROR: no such user"),
        (r"^\s+.{10,500}$", "  it is rather long"),
    ],
)
def test_usual_patterns(pattern: str, line: str) -> None:
    """Patterns as people write them are taken."""
    assert search(compiled(pattern), line, 1.0)


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|aa)+$", r"(a{1,1000}){1,1000}b", r"(?:a?){30}a{30}b"])
def test_searches_end(pattern: str) -> None:
    """A search that would not end is stopped."""
    with pytest.raises(TookTooLong):
        search(compiled(pattern), "a" * 4000 + "!", 0.05)


@given(PATTERNS, st.text(st.sampled_from(list("ab 01:\n-")), max_size=200))
@example("(?V1)(?V0)a", "a")
def test_any_pattern_is_taken_or_refused(pattern: str, line: str) -> None:
    """Whatever an administrator writes is refused, or searched for, and no other error comes of it."""
    try:
        search(compiled(pattern), line, 0.05)
    except (PatternUnusable, TookTooLong):
        pass
