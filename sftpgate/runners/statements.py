"""What a run says of itself: its result and its output, read after its end (``policy.outcome``).

Everything is bounded: a result that is too long is none, and rejected rows beyond a number are counted only. What cannot be
read is a notice, never an error: the run is over, and its end is to be recorded. Blocks.
"""

from __future__ import annotations

import time
from dataclasses import replace

from sftpgate.policy.disclosure import without_controls
from sftpgate.policy.outcome import (
    MAX_RESULT_BYTES,
    NOTHING_STATED,
    OutputReader,
    OutputRules,
    ResultInvalid,
    Statement,
    parse_result,
    with_rows_given_back,
)
from sftpgate.policy.phrases import sentence
from sftpgate.policy.tools import output_rules
from sftpgate.runners.outputs import text_lines
from sftpgate.runners.rejected_rows import count_given_back, most_given_back
from sftpgate.runners.run_directories import RunDirectory
from sftpgate.settings.choices import RowNumbers
from sftpgate.settings.tools import ToolSettings

_NO_FILE = sentence("it is no regular file, or cannot be read")


def statement_of(directory: RunDirectory, tool: ToolSettings | None) -> Statement:
    """Return what a run says of itself. The result decides; if there is none, the output does. Rows that the command gave back
    were rejected, whatever both say.

    What it wrote and cannot be understood means that nobody knows what was done: the run has failed.
    """
    rules = output_rules(tool) if tool else OutputRules()
    said = _output_says(directory, rules, tool.encoding if tool else "") if rules.are_there else NOTHING_STATED
    return _with_tryback(directory, tool, _with_result(directory, said))


def _with_tryback(directory: RunDirectory, tool: ToolSettings | None, said: Statement) -> Statement:
    tryback = directory.written_tryback()
    if tryback is None:
        if not directory.has_unusable_tryback():
            return said
        problem = sentence("what the command wrote to SFTPGATE_TRYBACK cannot be used: {why}", why=_NO_FILE)
        return replace(said, failed=said.failed or problem, notices=(*said.notices, problem))
    with tryback as file:
        header, row_numbers = (tool.header, tool.row_numbers) if tool else (True, RowNumbers.LINES)
        most = most_given_back(directory.size)
        count = count_given_back(file, directory, header=header, row_numbers=row_numbers, most=most)
        return with_rows_given_back(said, count)


def _with_result(directory: RunDirectory, said: Statement) -> Statement:
    with_result = directory.written_result()
    if with_result is None and not directory.has_unusable_result():
        return said
    try:
        if with_result is None:
            raise ResultInvalid(_NO_FILE)
        with with_result as file:
            content = file.read(MAX_RESULT_BYTES + 1)
        if len(content) > MAX_RESULT_BYTES:
            raise ResultInvalid(sentence("it is longer than {bytes} bytes", bytes=MAX_RESULT_BYTES))
        result = parse_result(content)
    except ResultInvalid as error:
        problem = sentence("what the command wrote to SFTPGATE_RESULT cannot be used: {why}", why=error.why)
        return replace(said, failed=said.failed or problem, notices=(*said.notices, problem))
    return replace(result, failed=result.failed or said.failed, not_the_file=result.not_the_file or said.not_the_file)


def _output_says(directory: RunDirectory, rules: OutputRules, encoding: str) -> Statement:
    reader = OutputReader(rules, time.process_time)
    if output := directory.written_output():
        with output as file:
            for line in text_lines(file, encoding):
                if not reader.feed(without_controls(line).decode("utf-8", "replace").rstrip("\r\n")):
                    break
    return reader.end()
