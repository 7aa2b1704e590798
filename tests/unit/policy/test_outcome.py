"""What a run says of itself: its result, its output, and the outcome that follows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.outcome import (
    MAX_LINE_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_REJECTED_ROWS,
    NOTHING_STATED,
    OUTPUT_SECONDS,
    OutputReader,
    OutputRules,
    RejectedRow,
    ResultInvalid,
    Statement,
    by_statement,
    judge,
    of_command,
    parse_result,
    pattern_problem,
    with_reason,
    with_rows_given_back,
)
from sftpgate.policy.runs import LONGEST_WAIT_SECONDS, RunOutcome, wait_seconds


def no_time_passes() -> float:
    """A clock that stands still."""
    return 0.0


def read(rules: OutputRules, *lines: str) -> Statement:
    """What these lines say by these rules."""
    reader = OutputReader(rules, no_time_passes)
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
    assert "of only 2 rows" in str(said.notices[0])


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
    reader = OutputReader(OutputRules(rejected=(r"^(?P<line>\d+) (?P<reason>.*)",)), no_time_passes)
    for number in range(1, MAX_REJECTED_ROWS + 11):
        reader.feed(f"{number} " + "x" * 10_000)
    reader.feed("9" * 4000 + " too large")
    said = reader.end()
    assert len(said.rejected_rows) == MAX_REJECTED_ROWS
    assert said.rejected == MAX_REJECTED_ROWS + 11
    assert len(said.rejected_rows[0].reason) == MAX_REASON_CHARACTERS


SLOW = (r"(?P<line>(?P<rows>a+)+)$",)


@pytest.mark.parametrize(
    "rules",
    [
        OutputRules(failed=SLOW),
        OutputRules(not_the_file=SLOW),
        OutputRules(rejected=SLOW),
        OutputRules(row=SLOW),
        OutputRules(counts=SLOW),
    ],
)
def test_a_pattern_that_does_not_end(rules: OutputRules) -> None:
    """A pattern that would search for years ends after a second: the run failed, and the report names the pattern."""
    reader = OutputReader(rules, no_time_passes)
    assert reader.feed("fine") is True
    assert reader.feed("a" * 4000 + "!") is False
    said = reader.end()
    assert SLOW[0] in str(said.failed) and "took too long" in str(said.failed)
    assert judge(exit_status=0, retry_exit_codes=(75,), statement=said) is RunOutcome.FAILED


def test_output_that_takes_too_long_as_a_whole() -> None:
    """Lines that are each read in time end as well, if they are too many: nothing after that is believed."""
    times = iter([0.0, 1.0, OUTPUT_SECONDS + 1.0])
    reader = OutputReader(OutputRules(rejected=("^no",)), lambda: next(times))
    assert [reader.feed("no"), reader.feed("no")] == [True, False]
    assert "took too long" in str(reader.end().failed)
    assert reader.end().rejected is None


def test_a_file_that_was_not_to_blame_before_a_slow_pattern() -> None:
    """What excused the file before the pattern took too long still does."""
    reader = OutputReader(OutputRules(not_the_file=("^no database",), failed=("(a+)+$",)), no_time_passes)
    reader.feed("no database")
    reader.feed("a" * 4000 + "!")
    assert judge(exit_status=0, retry_exit_codes=(), statement=reader.end()) is RunOutcome.NOT_THE_FILE


def test_the_reason_of_a_script() -> None:
    """The sentence that a script gives is why its run ended so, in the place of what its output says."""
    said = with_reason(Statement(failed="a line of output"), RunOutcome.FAILED, "no\x00header")
    assert said.failed == "no\\x00header"
    later = with_reason(NOTHING_STATED, RunOutcome.NOT_THE_FILE, "no database")
    assert (later.failed, later.not_the_file) == ("", "no database")
    assert with_reason(said, RunOutcome.FAILED, "") is said


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


@pytest.mark.parametrize("dots", [0, 100, MAX_LINE_CHARACTERS - 5, MAX_LINE_CHARACTERS, 20_000])
def test_failure_behind_a_long_line(dots: int) -> None:
    """A word of failure is found wherever it stands in a line; one that begins a line is not found within it."""
    rules = OutputRules(failed=("Fatal error",), not_the_file=("^Fatal",))
    said = read(rules, "." * dots + "Fatal error: out of memory" + "." * 5000)
    assert bool(said.failed) is True
    assert bool(said.not_the_file) is (dots == 0)


@pytest.mark.parametrize(
    ("pattern", "line", "number"),
    [
        (r"created: (?P<accepted>\d+)", "created: 1,234", 1234),
        (r"created: (?P<accepted>\d+)", "created: 1.234.567", 1_234_567),
        (r"created: (?P<accepted>\d+)", "created: 12\u202f345 users", 12_345),
        (r"created: (?P<accepted>\d+)", "created: 12'345", 12_345),
        (r"created: (?P<accepted>[\d ]+)", "created: 12 345 ", 12_345),
        (r"created: (?P<accepted>[\d,]+) users", "created: 1,234 users", 1234),
        (r"created: (?P<accepted>\d+)", "created: 12 345", 12),
        (r"created: (?P<accepted>\d+)", "created: 1,23", 1),
        (r"created: (?P<accepted>\d+)", "created: 3.", 3),
        (r"created: (?P<accepted>\d+)", "created: 1.234,5", 1),
        (r"created: (?P<accepted>\d+),", "created: 18,200 is no number of this", 18),
        (r"created: (?P<accepted>\S+)", "created: none", None),
    ],
)
def test_figures_with_separators(pattern: str, line: str, number: int | None) -> None:
    """Separators of thousands belong to a number, unless the pattern says what comes behind it."""
    assert read(OutputRules(counts=(pattern,)), line).accepted == number


def test_words_of_a_run_that_did_its_work() -> None:
    """A command that ends well, but without the words that it has if it did its work, has failed."""
    rules = OutputRules(done=("^finished", "^nothing to do"))
    silent, said = read(rules, "help: ..."), read(rules, "begun", "finished")
    assert of_command(said, 0) == said and not said.lacks_its_words
    failed = of_command(silent, 0)
    assert "none of the words" in str(failed.failed)
    assert judge(exit_status=0, retry_exit_codes=(), statement=failed) is RunOutcome.FAILED
    assert of_command(silent, 1) == silent
    assert by_statement(RunOutcome.DONE, silent) is RunOutcome.DONE


def test_an_end_that_nobody_heard() -> None:
    """If the end of an output is lost, a command that ended well may have failed: the file is not to blame."""
    lost = of_command(NOTHING_STATED, 0, is_heard=False)
    assert judge(exit_status=0, retry_exit_codes=(), statement=lost) is RunOutcome.NOT_THE_FILE
    assert of_command(NOTHING_STATED, 1, is_heard=False) == NOTHING_STATED


@pytest.mark.parametrize(
    ("said", "count", "expected"),
    [
        (NOTHING_STATED, 2, (None, None, 2)),
        (Statement(rows=5), 2, (5, 3, 2)),
        (Statement(rows=5, accepted=5, rejected=0), 2, (5, 3, 2)),
        (Statement(accepted=3), 2, (5, 3, 2)),
        (Statement(rows=9, accepted=2, rejected=7), 2, (9, 2, 7)),
        (Statement(rows=5, accepted=5, rejected=0), 0, (5, 5, 0)),
    ],
)
def test_rows_that_are_given_back(said: Statement, count: int, expected: tuple[int | None, int | None, int | None]) -> None:
    """Rows that a command gave back were rejected; what it says of their number itself is believed."""
    now = with_rows_given_back(said, count)
    assert (now.rows, now.accepted, now.rejected) == expected
