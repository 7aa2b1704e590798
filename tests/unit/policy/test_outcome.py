"""What a run says of itself: its result, its output, and the outcome that follows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.outcome import (
    MAX_REASON_CHARACTERS,
    MAX_REJECTED_ROWS,
    NOTHING_STATED,
    OutputReader,
    OutputRules,
    RejectedRow,
    ResultInvalid,
    Statement,
    by_statement,
    judge,
    parse_result,
    pattern_problem,
)
from sftpgate.policy.runs import LONGEST_WAIT_SECONDS, RunOutcome, wait_seconds


def read(rules: OutputRules, *lines: str) -> Statement:
    """What these lines say by these rules."""
    reader = OutputReader(rules)
    for line in lines:
        reader.feed(line)
    return reader.end()


def test_the_result_of_the_documents() -> None:
    """The result that the documents show is read as it is meant."""
    said = parse_result(b'{"rows": 20, "accepted": 18, "rejected": [{"line": 4, "reason": "no such course"}, {"line": 9}]}')
    assert (said.rows, said.accepted, said.rejected) == (20, 18, 2)
    assert said.rejected_rows == (RejectedRow(line=4, reason="no such course"), RejectedRow(line=9))
    assert judge(exit_status=0, retry_exit_codes=(75,), statement=said) is RunOutcome.DONE_WITH_REJECTED


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        ("{}", (None, None, None)),
        ('{"rows": 3}', (3, None, None)),
        ('{"rows": 3, "accepted": 3}', (3, 3, 0)),
        ('{"rows": 3, "rejected": 1}', (3, 2, 1)),
        ('{"accepted": 2, "rejected": []}', (2, 2, 0)),
        ('{"rows": 3, "accepted": 5}', (3, 5, None)),
        ('{"rows": 0, "more": {"of": "another program"}}', (0, None, None)),
    ],
)
def test_what_a_result_leaves_out(content: str, numbers: tuple[int | None, int | None, int | None]) -> None:
    """A number that follows from the others is filled in; what the result does not say stays unknown."""
    said = parse_result(content.encode())
    assert (said.rows, said.accepted, said.rejected) == numbers


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"done",
        b"[1]",
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"rows": "20"}',
        b'{"rows": -1}',
        b'{"rows": true}',
        b'{"rows": 1e3}',
        b'{"rows": 99999999999}',
        b'{"rejected": [4]}',
        b'{"rejected": [{"line": "4"}]}',
        b'{"rejected": [{"line": 4, "reason": 5}]}',
        b'{"rejected": "two"}',
        b'{"outcome": "fine"}',
        b'{"message": 5}',
    ],
)
def test_results_that_are_none(content: bytes) -> None:
    """A result that cannot be understood is refused with a sentence, whatever is in it."""
    with pytest.raises(ResultInvalid, match=r"^\w"):
        parse_result(content)


def test_a_result_says_its_outcome() -> None:
    """A result may say that the run failed, or that the file is not to blame, and why."""
    failed = parse_result(b'{"outcome": "failed", "message": "no header"}')
    later = parse_result(b'{"outcome": "try later", "message": "database is away"}')
    assert (failed.failed, later.not_the_file) == ("no header", "database is away")
    assert judge(exit_status=0, retry_exit_codes=(), statement=failed) is RunOutcome.FAILED
    assert judge(exit_status=0, retry_exit_codes=(), statement=later) is RunOutcome.NOT_THE_FILE
    assert parse_result(b'{"outcome": "failed"}').failed


def test_numbers_that_contradict_each_other() -> None:
    """More rows accepted and rejected than read is a notice, and the numbers stay as they were said."""
    said = parse_result(b'{"rows": 2, "accepted": 2, "rejected": [{"line": 2}]}')
    assert (said.rows, said.accepted, said.rejected) == (2, 2, 1)
    assert "of only 2 rows" in said.notices[0]


@pytest.mark.parametrize(
    ("exit_status", "statement", "outcome"),
    [
        (0, NOTHING_STATED, RunOutcome.DONE),
        (1, NOTHING_STATED, RunOutcome.FAILED),
        (75, NOTHING_STATED, RunOutcome.NOT_THE_FILE),
        (75, Statement(rejected=3), RunOutcome.NOT_THE_FILE),
        (-9, NOTHING_STATED, RunOutcome.FAILED),
        (0, Statement(failed="Invalid input"), RunOutcome.FAILED),
        (0, Statement(rejected=0, rows=3, accepted=3), RunOutcome.DONE),
        (0, Statement(rejected=3, rows=3, accepted=0), RunOutcome.DONE_WITH_REJECTED),
        (1, Statement(not_the_file="no database"), RunOutcome.NOT_THE_FILE),
        (1, Statement(rejected=3), RunOutcome.FAILED),
    ],
)
def test_outcomes(exit_status: int, statement: Statement, outcome: RunOutcome) -> None:
    """An exit status of 0 is "done" only if nothing that the run says speaks against it."""
    assert judge(exit_status=exit_status, retry_exit_codes=(75,), statement=statement) is outcome


def test_scripts_that_say_their_outcome() -> None:
    """A result makes less of a script's "done", and never more of its "failed"."""
    assert by_statement(RunOutcome.DONE, Statement(rejected=1)) is RunOutcome.DONE_WITH_REJECTED
    assert by_statement(RunOutcome.DONE, Statement(failed="x")) is RunOutcome.FAILED
    assert by_statement(RunOutcome.FAILED, Statement(accepted=3)) is RunOutcome.FAILED
    assert by_statement(RunOutcome.FAILED, Statement(not_the_file="x")) is RunOutcome.NOT_THE_FILE
    assert by_statement(RunOutcome.RELEASED, Statement(failed="x")) is RunOutcome.RELEASED


# -- output ------------------------------------------------------------------------------------------------------------------

BLOCKS = OutputRules(
    row=(r"^Line (?P<line>\d+)$",),
    rejected=(r"^\s+Error: (?P<reason>.*)",),
    counts=(r"^Users (?:created|updated): (?P<accepted>\d+)$", r"^Errors: (?P<rejected>\d+)$"),
    failed=(r"^Invalid input",),
)


def test_rows_in_blocks() -> None:
    """An error belongs to the row whose block it stands in, and several of one row are one rejected row."""
    said = read(
        BLOCKS,
        *("Line 2", "  User added", "Line 3", "  Error: no e-mail", "  Error: User not added", "Line 4", "  Error: no name"),
        *("Users created: 1", "Users updated: 4", "Errors: 2"),
    )
    assert said.rejected_rows == (
        RejectedRow(line=3, reason="no e-mail; User not added"),
        RejectedRow(line=4, reason="no name"),
    )
    assert (said.rows, said.accepted, said.rejected) == (3, 5, 2)


def test_reasons_behind_a_row() -> None:
    """The lines behind a rejected row say why; those behind an accepted one do not. Rows are counted from the tool's first."""
    rules = OutputRules(
        rejected=(r"^(?P<line>\d+)\tNOK\t",), row=(r"^(?P<line>\d+)\tOK\t",), reason=(r"^\s{2,}(?P<reason>\S.*)",), first_line=2
    )
    said = read(
        rules, "1\tOK\t7", "  Course created", "2\tNOK\t", "  Missing fullname", "  Invalid category", "3\tOK\t8", "  fine"
    )
    assert said.rejected_rows == (RejectedRow(line=3, reason="Missing fullname; Invalid category"),)


def test_line_and_reason_in_one() -> None:
    """A pattern may find line and reason at once; without groups, the line of output is the reason."""
    said = read(
        OutputRules(rejected=(r"(?P<reason>.*) - ignoring (?:line )?(?P<line>\d+)$", "^SKIPPED")),
        "Unknown role in field2 - ignoring line 4",
        "Line incorrectly formatted - ignoring 9",
        "SKIPPED something",
    )
    assert said.rejected_rows == (
        RejectedRow(line=4, reason="Unknown role in field2"),
        RejectedRow(line=9, reason="Line incorrectly formatted"),
        RejectedRow(line=0, reason="SKIPPED something"),
    )


def test_the_first_reason_of_a_failure() -> None:
    """Why a run failed, or could not begin, is the first line that says so."""
    rules = OutputRules(failed=("^Invalid", "^Bad"), not_the_file=("database",))
    said = read(rules, "Invalid input CSV file", "Bad luck", "no database")
    assert (said.failed, said.not_the_file) == ("Invalid input CSV file", "no database")
    assert said.rejected is None


def test_endless_output_is_bounded() -> None:
    """Rejected rows beyond a number are counted only, a long line is cut, and a large number is none."""
    reader = OutputReader(OutputRules(rejected=(r"^(?P<line>\d+) (?P<reason>.*)",)))
    for number in range(1, MAX_REJECTED_ROWS + 11):
        reader.feed(f"{number} " + "x" * 10_000)
    reader.feed("9" * 4000 + " too large")
    said = reader.end()
    assert len(said.rejected_rows) == MAX_REJECTED_ROWS
    assert said.rejected == MAX_REJECTED_ROWS + 11
    assert len(said.rejected_rows[0].reason) == MAX_REASON_CHARACTERS


@given(st.lists(st.text(max_size=60), max_size=30))
def test_any_output_is_read(lines: list[str]) -> None:
    """Whatever a command prints, reading it ends, and its numbers are not negative."""
    said = read(BLOCKS, *lines)
    assert all(number is None or number >= 0 for number in (said.rows, said.accepted, said.rejected))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_any_json_is_a_result_or_is_refused(value: object) -> None:
    """Any JSON value in the place of any key is understood or refused, never an error of another kind."""
    for key in ("rows", "accepted", "rejected", "outcome", "message"):
        try:
            parse_result(json.dumps({key: value}).encode())
        except ResultInvalid:
            continue


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (OutputRules(row=("^Line",), rejected=("x",)), "row_output"),
        (OutputRules(counts=("^Errors",)), "counts_output"),
        (OutputRules(reason=("x",)), "reason_output"),
    ],
)
def test_patterns_that_cannot_work(rules: OutputRules, problem: str) -> None:
    """A pattern without the group that it is there for is named."""
    assert (pattern_problem(rules) or "").startswith(problem)
    assert pattern_problem(BLOCKS) is None


def test_waits_grow_to_a_bound() -> None:
    """A file that is not to blame waits a minute, then twice as long each time, to an hour at most; others as the tool says."""
    waits = [wait_seconds(RunOutcome.NOT_THE_FILE, retry_delay=0, tries=tries) for tries in range(1, 9)]
    assert waits == [60, 120, 240, 480, 960, 1920, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]
    assert wait_seconds(RunOutcome.NOT_THE_FILE, retry_delay=7200, tries=1000) == 7200
    assert wait_seconds(RunOutcome.FAILED, retry_delay=30, tries=0) == 30
    assert wait_seconds(RunOutcome.DIED, retry_delay=30, tries=0) == 0
