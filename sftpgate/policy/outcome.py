"""What a tool did with a file: rows read, accepted and rejected, or why the file is not to blame.

Pure. An exit status says little: the batch tools of learning platforms end with 0 whatever happens. So a run is judged by more,
the strongest first: what the command wrote as its result (JSON, ``parse_result``), and what its output says, by the patterns
of its tool (``OutputReader``). ``judge`` makes one outcome of both and of the exit status.

Where neither is given, the exit status alone decides, as it always did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sftpgate.logs import printable
from sftpgate.policy.runs import RunOutcome

# A result, and a line of output: what is longer is no result, and a longer line is cut before a pattern sees it.
MAX_RESULT_BYTES = 16 * 1024 * 1024
MAX_LINE_CHARACTERS = 4096
# Rejected rows whose line and reason are remembered; the rest is counted. A tool that rejects more has another trouble.
MAX_REJECTED_ROWS = 100_000
MAX_REASON_CHARACTERS = 500
_SPACES = {0xA0: " ", 0x202F: " "}  # those that French has before a colon
_LARGEST = 2**31 - 1  # what the ledger's columns hold; no CSV file has as many rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """One row that the tool did not take. ``line`` counts from 1 in the file, the header included; 0: it is not known."""

    line: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a run says of itself. A number is None if it does not say.

    ``failed`` and ``not_the_file`` are sentences that say why; empty if the run does not say that. ``rejected`` counts all rows
    that were rejected, ``rejected_rows`` are the first of them.
    """

    rows: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    rejected_rows: tuple[RejectedRow, ...] = ()
    failed: str = ""
    not_the_file: str = ""
    notices: tuple[str, ...] = ()

    @property
    def has_rejected(self) -> bool:
        """Whether at least one row was not taken."""
        return bool(self.rejected) or bool(self.rejected_rows)


NOTHING_STATED = Statement()


def judge(*, exit_status: int, retry_exit_codes: Collection[int], statement: Statement) -> RunOutcome:
    """The outcome of a command that ended by itself."""
    if exit_status in retry_exit_codes or statement.not_the_file:
        return RunOutcome.NOT_THE_FILE
    if exit_status or statement.failed:
        return RunOutcome.FAILED
    return RunOutcome.DONE_WITH_REJECTED if statement.has_rejected else RunOutcome.DONE


def by_statement(outcome: RunOutcome, statement: Statement) -> RunOutcome:
    """The outcome of a script that says DONE or FAILED itself, and that may have written a result as well.

    A result never makes done of failed.
    """
    if outcome is RunOutcome.DONE:
        return judge(exit_status=0, retry_exit_codes=(), statement=statement)
    return RunOutcome.NOT_THE_FILE if outcome is RunOutcome.FAILED and statement.not_the_file else outcome


# -- a result as JSON --------------------------------------------------------------------------------------------------------


class ResultInvalid(ValueError):
    """What a command wrote as its result is none; the message says why."""


def parse_result(content: bytes) -> Statement:
    """The statement of a result: ``{"rows": 20, "accepted": 18, "rejected": [{"line": 4, "reason": "…"}]}``.

    ``rejected`` may be a number instead of a list. ``outcome`` may be ``done`` (the default), ``failed`` or ``try later``, and
    ``message`` a sentence that says why. Other keys are left alone. Raises ResultInvalid.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ResultInvalid("it is not valid JSON in UTF-8") from error
    if not isinstance(values, dict):
        raise ResultInvalid("it is no JSON object")
    rows, accepted = (_count(values.get(key), key) for key in ("rows", "accepted"))
    message = values.get("message", "")
    if not isinstance(message, str):
        raise ResultInvalid("message is no text")
    rejected: int | None = None
    rejected_rows: tuple[RejectedRow, ...] = ()
    match values.get("rejected"):
        case None:
            pass
        case list() as listed:
            rejected, rejected_rows = len(listed), tuple(_row(item) for item in listed[:MAX_REJECTED_ROWS])
        case number:
            rejected = _count(number, "rejected")
    statement = completed(
        Statement(
            rows=rows,
            accepted=accepted,
            rejected=rejected,
            rejected_rows=rejected_rows,
            notices=_contradictions(rows, accepted, rejected),
        )
    )
    match values.get("outcome", "done"):
        case "done":
            return statement
        case "failed":
            return replace(statement, failed=_cut(message) or "the command says that it failed")
        case "try later":
            return replace(statement, not_the_file=_cut(message) or "the command says that it is to be tried later")
        case _:
            raise ResultInvalid("outcome is none of done, failed, try later")


def completed(statement: Statement) -> Statement:
    """``statement`` with the number that follows from the two others."""
    match (statement.rows, statement.accepted, statement.rejected):
        case (int(rows), None, int(rejected)) if rejected <= rows:
            return replace(statement, accepted=rows - rejected)
        case (None, int(accepted), int(rejected)):
            return replace(statement, rows=accepted + rejected)
        case (int(rows), int(accepted), None) if accepted <= rows:
            return replace(statement, rejected=rows - accepted)
        case _:
            return statement


def _contradictions(rows: int | None, accepted: int | None, rejected: int | None) -> tuple[str, ...]:
    if rows is not None and (accepted or 0) + (rejected or 0) > rows:
        return (f"the command says that it accepted {accepted or 0} and rejected {rejected or 0} of only {rows} rows",)
    return ()


def _count(value: object, key: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ResultInvalid(f"{key} is no number of rows")
    return value


def _row(value: object) -> RejectedRow:
    if not isinstance(value, dict):
        raise ResultInvalid('an entry of rejected is no object such as {"line": 4, "reason": "…"}')
    reason = value.get("reason", "")
    if not isinstance(reason, str):
        raise ResultInvalid("the reason of a rejected row is no text")
    return RejectedRow(line=_count(value.get("line"), "the line of a rejected row") or 0, reason=_cut(reason))


# -- the output --------------------------------------------------------------------------------------------------------------

_NUMBERS = ("rows", "accepted", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRules:
    """The patterns of a tool (regular expressions, searched in each line of its output).

    ``failed``: the run failed. ``not_the_file``: the file is not to blame. ``rejected``: a row was rejected; groups called
    ``line`` and ``reason`` say which and why, and a group ``rejected`` how many. ``row``: the lines that follow are about the row
    that its group ``line`` names; how many there were is the number of rows, unless ``counts`` says it. ``reason``: why the row
    that was rejected last was, in its group ``reason``. ``counts``: groups ``rows``, ``accepted`` and ``rejected``; what several
    lines say is added up. ``first_line``: the line of the file that the tool calls 1.
    """

    failed: tuple[str, ...] = ()
    not_the_file: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    row: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    first_line: int = 1

    @property
    def are_there(self) -> bool:
        """Whether there is a pattern at all."""
        return any((self.failed, self.not_the_file, self.rejected, self.counts))


class OutputReader:
    """Reads the output of one run, a line after the other, and knows at the end what it said."""

    def __init__(self, rules: OutputRules) -> None:
        self._failed, self._not_the_file, self._rejected, self._row, self._reason, self._counts = (
            [re.compile(pattern) for pattern in patterns]
            for patterns in (rules.failed, rules.not_the_file, rules.rejected, rules.row, rules.reason, rules.counts)
        )
        self._offset = rules.first_line - 1
        self._statement = NOTHING_STATED
        self._numbers: dict[str, int] = {}
        self._rows: dict[int, RejectedRow] = {}  # by line; rows whose line is not known have negative keys
        self._at = 0  # the row that the output is about
        self._last: int | None = None  # the key of the row that was rejected last
        self._more = 0
        self._seen = 0  # rows that the output spoke of

    def feed(self, line: str) -> None:
        """Take one line, without its end."""
        line = line[:MAX_LINE_CHARACTERS]
        if found := _first(self._row, line):
            self._at, self._last = self._line_of(found), None
            self._seen += 1
        if _first(self._failed, line):
            self._statement = replace(self._statement, failed=self._statement.failed or _cut(line.strip()))
        if _first(self._not_the_file, line):
            self._statement = replace(self._statement, not_the_file=self._statement.not_the_file or _cut(line.strip()))
        if found := _first(self._counts, line):
            self._count(found)
        if found := _first(self._rejected, line):
            self._reject(found, line)
        elif self._last is not None and (found := _first(self._reason, line)):
            self._explain(self._last, _group(found, "reason") or line.strip())

    def end(self) -> Statement:
        """What the output said."""
        listed = tuple(sorted(self._rows.values(), key=lambda row: (row.line == 0, row.line)))
        rejected = max(self._numbers.get("rejected", 0), len(listed) + self._more)
        says = bool(self._numbers or listed or self._more or self._seen)
        return completed(
            replace(
                self._statement,
                rows=self._numbers.get("rows", self._seen or None),
                accepted=self._numbers.get("accepted"),
                rejected=min(rejected, _LARGEST) if says else None,
                rejected_rows=listed,
            )
        )

    def _count(self, found: re.Match[str]) -> None:
        for name in _NUMBERS:
            if (value := _number(_group(found, name))) is not None:
                self._numbers[name] = min(self._numbers.get(name, 0) + value, _LARGEST)

    def _reject(self, found: re.Match[str], line: str) -> None:
        if "rejected" in found.re.groupindex:
            self._count(found)
            return
        at = self._line_of(found) if "line" in found.re.groupindex else self._at
        reason = _group(found, "reason") if "reason" in found.re.groupindex else ("" if self._reason else line.strip())
        key = at or -(len(self._rows) + 1)
        if key not in self._rows and len(self._rows) >= MAX_REJECTED_ROWS:
            self._more += 1
            return
        if key in self._rows:
            self._explain(key, reason)
        else:
            self._rows[key] = RejectedRow(line=at, reason=_cut(reason))
        self._last = key

    def _explain(self, key: int, reason: str) -> None:
        row = self._rows[key]
        if reason and reason not in row.reason.split("; "):
            self._rows[key] = replace(row, reason=_cut(f"{row.reason}; {reason}" if row.reason else reason))

    def _line_of(self, found: re.Match[str]) -> int:
        number = _number(_group(found, "line"))
        return 0 if number is None else min(number + self._offset, _LARGEST)


def pattern_problem(rules: OutputRules) -> str | None:
    """What is wrong with the patterns of a tool, which are regular expressions, or None."""
    for pattern in rules.row:
        if "line" not in re.compile(pattern).groupindex:
            return f"row_output: {pattern!r} needs a group (?P<line>\\d+)"
    for pattern in rules.counts:
        if not set(_NUMBERS) & set(re.compile(pattern).groupindex):
            return f"counts_output: {pattern!r} needs a group called rows, accepted or rejected, such as (?P<accepted>\\d+)"
    if rules.reason and not rules.rejected:
        return "reason_output says why a row was rejected, and there is no rejected_output"
    return None


def _first(patterns: Sequence[re.Pattern[str]], line: str) -> re.Match[str] | None:
    return next((found for pattern in patterns if (found := pattern.search(line))), None)


def _group(found: re.Match[str], name: str) -> str:
    return (found[name] or "").strip() if name in found.re.groupindex else ""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _cut(text: str) -> str:
    """``text`` as the ledger can have it: not too long, and without control characters and unpaired surrogates."""
    text = printable(text[: MAX_REASON_CHARACTERS + 1].translate(_SPACES))
    return text if len(text) <= MAX_REASON_CHARACTERS else text[: MAX_REASON_CHARACTERS - 1] + "…"
