"""What a tool did with a file: rows read, accepted and rejected, or why the file is not to blame.

Pure, but for the time that a search takes. An exit status says little: the batch tools of learning platforms end with 0 whatever
happens. So a run is judged by more, the strongest first: what the command wrote as its result (JSON, ``parse_result``), and what
its output says, by the patterns of its tool (``OutputReader``). ``judge`` makes one outcome of both and of the exit status.

If neither is given, the exit status alone decides, as it always did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sftpgate import patterns
from sftpgate.logs import printable
from sftpgate.policy.phrases import Sentence, Words, sentence
from sftpgate.policy.runs import RunOutcome

if TYPE_CHECKING:
    from regex import Match, Pattern

# A result, and a line of output: what is longer is no result, and of a longer line a pattern sees a part.
MAX_RESULT_BYTES = 16 * 1024 * 1024
MAX_LINE_CHARACTERS = 4096
_OVERLAP_CHARACTERS = 256  # of two parts of a longer line that are searched for words of failure: longer than any of these
# Rejected rows whose line and reason are remembered; the rest is counted. A tool that rejects more has another trouble.
MAX_REJECTED_ROWS = 100_000
MAX_REASON_CHARACTERS = 500
# Of processor time. A pattern takes microseconds for a line, and some milliseconds for the longest one if it is a clumsy one; the
# patterns of a preset take a minute for all of the longest output that is kept.
SEARCH_SECONDS = 1.0
OUTPUT_SECONDS = 300.0
_SPACES = {0xA0: " ", 0x202F: " "}  # those that French has before a colon
# Thousands, as English, German, French and Swiss programs write them; a blank only if the pattern itself has it.
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d.,])|\d{1,3}(?:\.\d{3})+(?![\d.,])|\d{1,3}(?:[\xa0\u202f'\u2019]\d{3})+(?!\d)")
_SPACED = re.compile(r"\d{1,3}(?: \d{3})+")
_SEPARATORS = re.compile(r"\D")
_LARGEST = 2**31 - 1  # what the ledger's columns hold; no CSV file has as many rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """One row that the tool did not take. ``line`` counts from 1 in the file, the header included; 0: it is not known."""

    line: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a run says of itself. A number is None if it does not say.

    ``failed`` and ``not_the_file`` say why, in the run's words or in ours; empty if the run does not say that. ``rejected``
    counts all rows that were rejected, ``rejected_rows`` are the first of them.
    """

    rows: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    rejected_rows: tuple[RejectedRow, ...] = ()
    failed: Words = ""
    not_the_file: Words = ""
    notices: tuple[Sentence, ...] = ()
    lacks_its_words: bool = False  # the output has none of those that a run has that did its work

    @property
    def has_rejected(self) -> bool:
        """Whether at least one row was not taken."""
        return bool(self.rejected) or bool(self.rejected_rows)


NOTHING_STATED = Statement()


def judge(*, exit_status: int, retry_exit_codes: Collection[int], statement: Statement) -> RunOutcome:
    """Return the outcome of a command that ended by itself."""
    if exit_status in retry_exit_codes or statement.not_the_file:
        return RunOutcome.NOT_THE_FILE
    if exit_status or statement.failed:
        return RunOutcome.FAILED
    return RunOutcome.DONE_WITH_REJECTED if statement.has_rejected else RunOutcome.DONE


def of_command(statement: Statement, exit_status: int, *, is_heard: bool = True) -> Statement:
    """Return ``statement`` of a command that ended with ``exit_status``: one that ends well, but lacks the words of a run that
    did its work, has failed. A script says itself that it is done.

    ``is_heard``: false if the end of an output that is needed to know how it went could not be kept.
    """
    if not (is_heard or exit_status or statement.not_the_file):
        lost = sentence("this server's disk is full: the end of the output is lost, and nobody knows what was done")
        return replace(statement, not_the_file=lost)
    if exit_status or statement.failed or not statement.lacks_its_words:
        return statement
    return replace(statement, failed=sentence("the output has none of the words of a run that did its work"))


def with_rows_given_back(statement: Statement, count: int) -> Statement:
    """Return ``statement`` of a run that gave ``count`` rows back itself: they were rejected, whatever it says."""
    if not count or statement.has_rejected:
        return statement
    accepted = None if statement.rows == statement.accepted else statement.accepted
    return completed(replace(statement, accepted=accepted, rejected=count))


def by_statement(outcome: RunOutcome, statement: Statement) -> RunOutcome:
    """Return the outcome of a script that says DONE or FAILED itself, and that may have written a result as well.

    A result never makes done of failed.
    """
    if outcome is RunOutcome.DONE:
        return judge(exit_status=0, retry_exit_codes=(), statement=statement)
    return RunOutcome.NOT_THE_FILE if outcome is RunOutcome.FAILED and statement.not_the_file else outcome


def with_reason(statement: Statement, outcome: RunOutcome, reason: str) -> Statement:
    """Return ``statement`` with the reason that a script gives for its outcome, which it knows best."""
    if not reason:
        return statement
    if outcome is RunOutcome.NOT_THE_FILE:
        return replace(statement, not_the_file=_cut(reason))
    return replace(statement, failed=_cut(reason), not_the_file="")


# -- a result as JSON --------------------------------------------------------------------------------------------------------


class ResultInvalid(ValueError):
    """What a command wrote as its result is none; ``why`` says why, and so does the message."""

    def __init__(self, why: Sentence) -> None:
        super().__init__(str(why))
        self.why = why


def parse_result(content: bytes) -> Statement:
    """Return the statement of a result: ``{"rows": 20, "accepted": 18, "rejected": [{"line": 4, "reason": "…"}]}``.

    ``rejected`` may be a number instead of a list. ``outcome`` may be ``done`` (the default), ``failed`` or ``try later``, and
    ``message`` a sentence that says why. Other keys are left alone. Raises ResultInvalid.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ResultInvalid(sentence("it is not valid JSON in UTF-8")) from error
    if not isinstance(values, dict):
        raise ResultInvalid(sentence("it is no JSON object"))
    rows, accepted = (_count(values.get(key), key) for key in ("rows", "accepted"))
    message = values.get("message", "")
    if not isinstance(message, str):
        raise ResultInvalid(sentence("message is no text"))
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
            return replace(statement, failed=_cut(message) or sentence("the command says that it failed"))
        case "try later":
            later = sentence("the command says that it is to be tried later")
            return replace(statement, not_the_file=_cut(message) or later)
        case _:
            raise ResultInvalid(sentence("outcome is none of done, failed, try later"))


def completed(statement: Statement) -> Statement:
    """Return ``statement`` with the number that follows from the two others."""
    match (statement.rows, statement.accepted, statement.rejected):
        case (int(rows), None, int(rejected)) if rejected <= rows:
            return replace(statement, accepted=rows - rejected)
        case (None, int(accepted), int(rejected)):
            return replace(statement, rows=accepted + rejected)
        case (int(rows), int(accepted), None) if accepted <= rows:
            return replace(statement, rejected=rows - accepted)
        case _:
            return statement


def _contradictions(rows: int | None, accepted: int | None, rejected: int | None) -> tuple[Sentence, ...]:
    if rows is not None and (accepted or 0) + (rejected or 0) > rows:
        text = "the command says that it accepted {accepted} and rejected {rejected} of only {rows} rows"
        return (sentence(text, accepted=accepted or 0, rejected=rejected or 0, rows=rows),)
    return ()


def _count(value: object, key: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ResultInvalid(sentence("{key} is no number of rows", key=key))
    return value


def _row(value: object) -> RejectedRow:
    if not isinstance(value, dict):
        raise ResultInvalid(sentence('an entry of rejected is no object such as {"line": 4, "reason": "…"}'))
    reason = value.get("reason", "")
    if not isinstance(reason, str):
        raise ResultInvalid(sentence("the reason of a rejected row is no text"))
    return RejectedRow(line=_count(value.get("line"), "line") or 0, reason=_cut(reason))


# -- the output --------------------------------------------------------------------------------------------------------------

_NUMBERS = ("rows", "accepted", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRules:
    """The patterns of a tool (regular expressions as ``sftpgate.patterns`` has them, searched in each line of its output).

    ``done``: a run that did its work says one of these. ``failed``: the run failed. ``not_the_file``: the file is not to blame.
    ``rejected``: a row was rejected; groups called
    ``line`` and ``reason`` say which and why, and a group ``rejected`` how many. ``row``: the lines that follow are about the row
    that its group ``line`` names; how many there were is the number of rows, unless ``counts`` says it. ``reason``: why the row
    that was rejected last was, in its group ``reason``. ``counts``: groups ``rows``, ``accepted`` and ``rejected``; what several
    lines say is added up. ``first_line``: the line of the file that the tool calls 1.
    """

    done: tuple[str, ...] = ()
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
        return any((self.done, self.failed, self.not_the_file, self.rejected, self.row, self.counts))


class _EndedEarly(Exception):
    """A search took too long; ``pattern`` is the one that was searched for."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.pattern = pattern


class OutputReader:
    """Reads the output of one run, a line after the other, and knows at the end what it said.

    ``seconds`` is a clock of processor time. Output on which a pattern takes too long says nothing, but that the run failed:
    the word for that could be in what was not read.
    """

    def __init__(self, rules: OutputRules, seconds: Callable[[], float]) -> None:
        self._done, self._failed, self._not_the_file, self._rejected, self._row, self._reason, self._counts = (
            [patterns.compiled(text) for text in texts]
            for texts in (rules.done, rules.failed, rules.not_the_file, rules.rejected, rules.row, rules.reason, rules.counts)
        )
        self._seconds = seconds
        self._ends_at = seconds() + OUTPUT_SECONDS
        self._limit = SEARCH_SECONDS  # of one search in the line that is read
        self._slow_pattern = ""
        self._is_without = bool(rules.done)  # the words of a run that did its work, so far
        self._offset = rules.first_line - 1
        self._statement = NOTHING_STATED
        self._numbers: dict[str, int] = {}
        self._rows: dict[int, RejectedRow] = {}  # by line; rows whose line is not known have negative keys
        self._at = 0  # the row that the output is about
        self._last: int | None = None  # the key of the row that was rejected last
        self._more = 0
        self._seen = 0  # rows that the output spoke of

    def feed(self, line: str) -> bool:
        """Take one line, without its end. Returns whether more is wanted."""
        self._limit = max(min(self._ends_at - self._seconds(), SEARCH_SECONDS), 0.0)
        try:
            self._read(line[:MAX_LINE_CHARACTERS], line)
        except _EndedEarly as early:
            self._slow_pattern = early.pattern
        return not self._slow_pattern

    def _read(self, line: str, whole: str) -> None:
        if found := self._first(self._row, line):
            self._at, self._last = self._line_of(found), None
            self._seen += 1
        if self._is_without and self._anywhere(self._done, whole):
            self._is_without = False
        if self._anywhere(self._failed, whole):
            self._statement = replace(self._statement, failed=self._statement.failed or _cut(line.strip()))
        if self._anywhere(self._not_the_file, whole):
            self._statement = replace(self._statement, not_the_file=self._statement.not_the_file or _cut(line.strip()))
        if found := self._first(self._counts, line):
            self._count(found)
        if found := self._first(self._rejected, line):
            self._reject(found, line)
        elif self._last is not None and (found := self._first(self._reason, line)):
            self._explain(self._last, _group(found, "reason") or line.strip())

    def end(self) -> Statement:
        """Return what the output said."""
        if self._slow_pattern:
            text = "the pattern {pattern} took too long on the output: nobody knows what was done"
            return Statement(failed=sentence(text, pattern=_cut(self._slow_pattern)), not_the_file=self._statement.not_the_file)
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
                lacks_its_words=self._is_without,
            )
        )

    def _first(self, wanted: Sequence[Pattern[str]], line: str, at: int = 0) -> Match[str] | None:
        for pattern in wanted:
            try:
                if found := patterns.search(pattern, line, self._limit, at=at, length=MAX_LINE_CHARACTERS):
                    return found
            except patterns.TookTooLong as error:
                raise _EndedEarly(pattern.pattern) from error
        return None

    def _anywhere(self, wanted: Sequence[Pattern[str]], line: str) -> bool:
        """Return whether one of the patterns is found in a line of any length, part after part: it may come behind a row of
        dots.
        """
        step = MAX_LINE_CHARACTERS - _OVERLAP_CHARACTERS
        return any(self._first(wanted, line, at) for at in range(0, max(len(line) - _OVERLAP_CHARACTERS, 1), step))

    def _count(self, found: Match[str]) -> None:
        for name in _NUMBERS:
            if (value := _figure(found, name)) is not None:
                self._numbers[name] = min(self._numbers.get(name, 0) + value, _LARGEST)

    def _reject(self, found: Match[str], line: str) -> None:
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

    def _line_of(self, found: Match[str]) -> int:
        number = _figure(found, "line")
        return 0 if number is None else min(number + self._offset, _LARGEST)


def pattern_problem(rules: OutputRules) -> str | None:
    """Return what is wrong with the patterns of a tool, which are regular expressions, or None."""
    for pattern in rules.row:
        if "line" not in patterns.compiled(pattern).groupindex:
            return f"row_output: {pattern!r} needs a group (?P<line>\\d+)"
    for pattern in rules.counts:
        if not set(_NUMBERS) & set(patterns.compiled(pattern).groupindex):
            return f"counts_output: {pattern!r} needs a group called rows, accepted or rejected, such as (?P<accepted>\\d+)"
    if rules.reason and not rules.rejected:
        return "reason_output says why a row was rejected, and there is no rejected_output"
    return None


def _group(found: Match[str], name: str) -> str:
    return (found[name] or "").strip() if name in found.re.groupindex else ""


def _figure(found: Match[str], name: str) -> int | None:
    """Return the number in a group, which may have separators of thousands; None if there is none.

    A pattern that ends with the number (``created: (?P<accepted>\\d+)``) means all of ``1,234``, though it matches the 1 alone.
    """
    text = _group(found, name)
    if text.isdigit() and found.end(name) == found.end() and (whole := _GROUPED.match(found.string, found.start(name))):
        text = whole[0]
    digits = _SEPARATORS.sub("", text) if _GROUPED.fullmatch(text) or _SPACED.fullmatch(text) else text
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None


def _cut(text: str) -> str:
    """Return ``text`` as the ledger can have it: not too long, and without control characters and unpaired surrogates."""
    text = printable(text[: MAX_REASON_CHARACTERS + 1].translate(_SPACES))
    return text if len(text) <= MAX_REASON_CHARACTERS else text[: MAX_REASON_CHARACTERS - 1] + "…"
