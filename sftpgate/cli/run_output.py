"""What ``sftpgate run`` says about a pass: as much as an admin wants to read in a mail of cron.

Nothing if nothing happened. Otherwise a line for each run that failed, and one line that sums up; a pass of one run has that
run's line only. On a terminal (and with ``--verbose``) every run has its line, and what is at work is shown with its time.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from sftpgate.logs import printable
from sftpgate.policy.lifecycle import Area, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.phrases import outcome_phrase
from sftpgate.policy.runs import PROCESSED, UNCOUNTED, RunOutcome
from sftpgate.settings.choices import Language

if TYPE_CHECKING:
    from sftpgate.runners.claims import Claim
    from sftpgate.runners.runner import RunResult


class Lines:
    """Says what a pass does, while it does it; ``sum_up`` is called at its end."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._says_all = verbose or sys.stdout.isatty()
        self._shown = contextlib.ExitStack()
        self._counts: dict[str, Counter[str]] = {}
        self._seconds = 0.0
        self._first = ""
        self._left_out: list[str] = []

    @property
    def _runs(self) -> int:
        return sum(counts.total() for counts in self._counts.values())

    def started(self, claim: Claim) -> None:
        """Show on a terminal what is at work."""
        if sys.stderr.isatty():
            what = f"run {self._runs + 1}, {claim.tool}: {claim.arrival.path}"
            self._shown.enter_context(_clock(f"{what}, attempt {claim.arrival.attempts}"))

    def finished(self, result: RunResult) -> None:
        """Count a run, and say how it ended if that is wanted."""
        self._shown.close()
        line = describe(result)
        self._first = self._first or line
        is_done = result.outcome is RunOutcome.DONE
        self._counts.setdefault(result.tool, Counter())[_kind(result.outcome)] += 1
        self._seconds += result.seconds
        if self._says_all or not is_done:
            self._say(line)
            self._first = line = ""

    def skipped(self, tool: str, because_of: str) -> None:
        """Remember a tool that is left out."""
        self._left_out.append(f"{tool} left out, because {because_of} did not get through")

    def sum_up(self) -> None:
        """Say in one line what the pass did; nothing if its only run has been said, or if there was none."""
        self._shown.close()
        if self._runs + len(self._left_out) > 1:
            tools = [
                f"{tool} {', '.join(f'{count} {how}' for how, count in sorted(counts.items()))}"
                for tool, counts in self._counts.items()
            ]
            self._say(f"{self._runs} runs in {self._seconds:.1f} s: {'; '.join(tools + self._left_out)}")
        elif self._first:
            self._say(self._first)

    def _say(self, line: str) -> None:
        typer.echo(printable(line))
        sys.stdout.flush()


@contextlib.contextmanager
def _clock(text: str) -> Iterator[None]:
    """Show ``text`` on the terminal, with the time that goes by."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(escape(printable(text)), total=None)
        yield


def describe(result: RunResult) -> str:
    """Return one line that says how a run ended, and what became of the file."""
    took = f"{result.seconds:.1f} s"
    if result.stays:
        return (
            f"{result.tool}: {result.arrival.path} has not ended after {took}, though it was to: {result.stays}; "
            "nothing else gets the file until that has ended"
        )
    match result.outcome:
        case RunOutcome.DONE | RunOutcome.DONE_WITH_REJECTED:
            what = f"{outcome_phrase(result.outcome, result.statement.rejected, Language.ENGLISH)} in {took}"
        case RunOutcome.NOT_THE_FILE:
            what = f"put off after {took}, not the file's fault ({result.statement.not_the_file or _status(result.exit_status)})"
        case RunOutcome.TIMED_OUT:
            what = f"stopped after {took}, its time was over"
        case RunOutcome.INTERRUPTED:
            what = f"interrupted after {took}"
        case _:
            what = f"failed after {took} ({result.statement.failed or _status(result.exit_status)})"
    if result.outcome not in PROCESSED | UNCOUNTED:
        what += f", attempt {result.attempt} of {result.max_attempts}"
    kept = [f"report {location(Area.REPORTS, result.report)}" if result.report else "no report could be written"]
    if result.output:
        kept.append(f"whole output {location(Area.REPORTS, result.output)}")
    if result.tryback:
        kept.append(f"rejected lines {location(Area.REPORTS, result.tryback)}")
    match result.arrival.state:
        case ArrivalState.QUARANTINED:
            kept.append("moved to quarantine")
        case ArrivalState.REPLACED:
            kept.append("archived, because a newer file of its name waits")
        case ArrivalState.WAITING | ArrivalState.QUEUED:
            if result.outcome is RunOutcome.NOT_THE_FILE and result.arrival.not_before:
                kept.append(f"it is tried again from {result.arrival.not_before.astimezone():%H:%M}")
            else:
                kept.append("it waits for the next attempt")
        case _:
            pass
    return f"{result.tool}: {result.arrival.path} {what}, {', '.join(kept)}"


def _kind(outcome: RunOutcome) -> str:
    """Return the word under which a run is counted in the line that sums up."""
    if outcome in PROCESSED:
        return outcome.value
    return "put off" if outcome is RunOutcome.NOT_THE_FILE else "failed"


def _status(exit_status: int) -> str:
    return f"exit status {exit_status}" if exit_status >= 0 else f"signal {-exit_status}"
