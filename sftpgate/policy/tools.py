"""How tools are set up: in which order they run, what is wrong with their settings, which file a person may have meant.

Pure. What a tool is pointed at: ``policy.pointers``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from sftpgate.errors import NameRefused, SettingsError
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.policy.managed import RESERVED_NAMES
from sftpgate.policy.names import NameRules, check_storable, folded
from sftpgate.policy.outcome import OutputRules, pattern_problem
from sftpgate.policy.pointers import Pointer, is_pattern, matches

if TYPE_CHECKING:
    from sftpgate.settings.tools import ToolSettings

_NEAR = 0.8  # of difflib's measure: one letter more or less in a usual name

# A tool's name is part of a file's name (its lock), of the environment and of reports.
_TOOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def meant(path: str, pointers: Sequence[Pointer]) -> str | None:
    """Return the file of a tool that a person would read ``path`` as, if no tool has it: other capitals, blanks around it, a path
    of another system's, one more suffix. None if nothing is near.
    """
    wanted = path.replace("\\", "/").rpartition("/")[2].strip().casefold()
    names = {file.rpartition("/")[2].casefold(): file for pointer in pointers for file in pointer.files}
    for name, file in names.items():
        if matches(name, wanted) or matches(name, wanted.rpartition(".")[0]):
            return file
    close = get_close_matches(wanted, names, n=1, cutoff=_NEAR)
    return names[close[0]] if close else None


# -- order -----------------------------------------------------------------------------------------------------------


def in_order(tools: Mapping[str, ToolSettings], chosen: Sequence[str]) -> list[str]:
    """Return the chosen tools, each after those of them that it comes ``after``; otherwise as they were given. Raises
    SettingsError.
    """
    sorter = TopologicalSorter({name: [first for first in tools[name].after if first in chosen] for name in chosen})
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " → ".join(reversed(error.args[1]))
        raise SettingsError(f"tools: {cycle}: these come after each other in a circle; remove one `after`") from error
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=list(chosen).index)
        ordered += ready
        sorter.done(*ready)
    return ordered


def output_rules(tool: ToolSettings) -> OutputRules:
    """Return the patterns by which the output of a tool is read."""
    return OutputRules(
        done=tool.done_output,
        failed=tool.failed_output,
        not_the_file=tool.retry_output,
        rejected=tool.rejected_output,
        row=tool.row_output,
        reason=tool.reason_output,
        counts=tool.counts_output,
        first_line=tool.first_line,
    )


# -- checks ----------------------------------------------------------------------------------------------------------


def check_tools(tools: Mapping[str, ToolSettings], names: NameRules) -> None:
    """Raise SettingsError with the first thing that is wrong with the tools."""
    for finding in findings(tools, names):
        raise SettingsError(finding)


def findings(tools: Mapping[str, ToolSettings], names: NameRules) -> list[str]:
    """Return everything that is wrong with how the tools are set up: a line each, with what to do."""
    found: list[str] = []
    for name, tool in tools.items():
        found += [f"tools.{name}: {problem}" for problem in _problems(name, tool, tools, names)]
    found += _shared(tools)
    try:
        in_order(tools, list(tools))
    except SettingsError as error:
        found.append(error.message)
    return found


def _problems(name: str, tool: ToolSettings, tools: Mapping[str, ToolSettings], names: NameRules) -> Iterator[str]:
    if not _TOOL_NAME.fullmatch(name):
        yield "a tool's name has letters, digits, dots, dashes and underscores, 64 at most; choose another one"
    if not tool.files:
        yield "file: the list is empty; name at least one file"
    for file in tool.files:
        if problem := _problem_of(file, names):
            yield f"file: {file!r} {problem}"
    if problem := pattern_problem(output_rules(tool)):
        yield problem
    for first in tool.after:
        if first not in tools:
            yield f"after: there is no tool {first!r}"


def _problem_of(file: str, names: NameRules) -> str | None:
    parts = file.split("/")
    if file.startswith("/"):
        return "is an absolute path; name the file relative to the store"
    if any(part in ("", ".", "..") for part in parts):
        return "is no path inside the store; leave out empty parts, . and .."
    if len(parts) > 1 and (reserved := _reserved(parts[0])):
        return f"is in {reserved}/, or can be, and what lies there is processed already; name another directory"
    sample = file.replace("*", "x").replace("?", "x")
    try:
        check_storable(sample)
    except NameRefused as error:
        return f"can never arrive: {error.message}"
    if not names.eligible(sample):
        return f"is never taken (rule: {names.eligibility(sample)} names); choose a name that is"
    return None


def _reserved(top: str) -> str | None:
    candidates = (*RESERVED_NAMES, MANAGED_NAME)
    return next((name for name in candidates if matches(top, name) or folded(top) == name), None)


def _shared(tools: Mapping[str, ToolSettings]) -> Iterator[str]:
    """Yield files that a tool never gets, because an earlier one has them."""
    enabled = [(name, tool) for name, tool in tools.items() if tool.enabled]
    for number, (name, tool) in enumerate(enabled):
        for file in tool.files:
            for earlier, other in enabled[:number]:
                if file in other.files:
                    yield f"tools.{name}: file: {file!r} is what tools.{earlier} is pointed at; point one of them elsewhere"
                elif not is_pattern(file) and any(matches(pattern, file) for pattern in other.files):
                    yield f"tools.{name}: file: tools.{earlier} takes {file!r} first; put [tools.{name}] before it"
