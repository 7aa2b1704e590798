"""The ``sftpgate`` command: which commands there are, and what a script sees of an error.

An error is one line on stderr, ``sftpgate: …``, and an exit code of ``docs/exit-codes.md``; this module is the only
place where one becomes the other. Only this module knows all commands. ``sftpgate --help`` and shell completion must
be quick, and cron starts a process a minute: the modules of commands import nothing but typer and the standard
library (and rules that cost nothing) before they run, and Typer does without rich.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from sftpgate.cli.command_record import looks, record_command, records_itself
from sftpgate.cli.commands.arrivals import approve, arrivals, discard, reject, release, show
from sftpgate.cli.commands.audit import audit
from sftpgate.cli.commands.backup import backup, restore
from sftpgate.cli.commands.bans import ban_app
from sftpgate.cli.commands.bug_report import report_bug
from sftpgate.cli.commands.claims import claim, done, extend, fail
from sftpgate.cli.commands.contracts import contract_app
from sftpgate.cli.commands.differences import diff, undo
from sftpgate.cli.commands.doctor import doctor
from sftpgate.cli.commands.expectations import expect_app
from sftpgate.cli.commands.host_keys import hostkey_app
from sftpgate.cli.commands.keys import key_app
from sftpgate.cli.commands.monitor import monitor
from sftpgate.cli.commands.notify import notify_app
from sftpgate.cli.commands.prune import prune
from sftpgate.cli.commands.quarantine import quarantine_app
from sftpgate.cli.commands.receipts import receipts
from sftpgate.cli.commands.run import run
from sftpgate.cli.commands.serve import deliver, follow, serve, worker
from sftpgate.cli.commands.service import service_app
from sftpgate.cli.commands.status import status
from sftpgate.cli.commands.store import store_app
from sftpgate.cli.commands.sweep import sweep, verify
from sftpgate.cli.commands.tools import tool_app
from sftpgate.cli.commands.users import user_app
from sftpgate.errors import ExitCode, SftpgateError, StoreBusy

# 128 and the signal's number, as shells have it
_INTERRUPTED = 130
_BROKEN_PIPE = 141

app = typer.Typer(
    name="sftpgate",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from sftpgate.app.doctor.versions import one_line

        typer.echo(one_line())
        raise typer.Exit


@app.callback()
def sftpgate(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, and which commit it was made of.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """The SFTP server that owns the hand-over of command files from an ERP to batch tools.

    Settings come from sftpgate.toml and the environment: `sftpgate settings --defaults`. Exit codes: docs/exit-codes.md.

    Example: sftpgate quickstart
    """  # noqa: D401 - what `sftpgate --help` begins with
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.USAGE)


@records_itself
def quickstart() -> None:
    """Set everything up, prove it with a sample file, and serve until Ctrl-C.

    Example: sftpgate quickstart
    """
    from sftpgate.cli.commands.quickstart import quickstart as command

    command()


@looks
def settings(
    json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="List every setting with its default and its meaning.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/settings.md.")] = False,
) -> None:
    """List the settings that are in force: name, where it comes from, and value. Passwords are not shown.

    Example: sftpgate settings | grep -v default
    """
    from sftpgate.cli.commands.settings import settings as command

    command(json=json, defaults=defaults, markdown=markdown)


# Objects between two collections: most of what a command makes are modules, and nothing of them is garbage.
COLLECT_AFTER = 50_000

# The order in which --help lists them.
for _command in (
    *(quickstart, serve, settings, doctor, report_bug, status),
    *(arrivals, show, receipts, diff, approve, reject, undo, release, discard, sweep, prune, verify, audit, backup, restore),
    *(run, claim, done, fail, extend),
):
    app.command()(_command)
app.command(hidden=True)(worker)
app.command(hidden=True)(follow)
app.command(hidden=True)(deliver)
app.command(hidden=True)(monitor)
for _group, _name in (
    (tool_app, "tool"),
    (contract_app, "contract"),
    (expect_app, "expect"),
    (quarantine_app, "quarantine"),
    (store_app, "store"),
    (user_app, "user"),
    (key_app, "key"),
    (hostkey_app, "hostkey"),
    (ban_app, "ban"),
    (notify_app, "notify"),
    (service_app, "service"),
):
    app.add_typer(_group, name=_name)


def main() -> NoReturn:
    """Run the command of ``sys.argv`` and end the process."""
    gc.set_threshold(COLLECT_AFTER)
    # Asking for a lease, we can be sent SIGIO when somebody opens the file just then: that must not end us.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    os.umask(0o027)  # what others make for us, such as SQLite its files, is not for everybody
    command = get_command(app)
    code = _run(command.main)
    if problem := record_command(sys.argv[1:], command, code):
        typer.echo(f"sftpgate: this command could not be put on the audit record: {problem}", err=True)
        code = code or ExitCode.FAILED
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _BROKEN_PIPE
    if code == _BROKEN_PIPE:
        # the interpreter flushes once more when it ends, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(command: Callable[..., object]) -> int:
    try:
        code = command(prog_name="sftpgate", standalone_mode=False)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return _BROKEN_PIPE
    except SystemExit as end:
        # Typer ends so where the reader of our output is gone
        return _BROKEN_PIPE if isinstance(end.__context__, BrokenPipeError) else _status(end.code)
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, one line says so
        return _report(error)
    return _status(code)


def _status(code: object) -> int:
    """Return an exit status of what Typer returns: None for a command that came to its end."""
    return code if isinstance(code, int) else ExitCode.OK if code is None else ExitCode.FAILED


def _report(error: Exception) -> int:
    """Say on stderr what went wrong, and return the exit code that stands for it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, SftpgateError):
        code: int = error.exit_code
        message = error.message
        if isinstance(error, StoreBusy) and error.holder:
            message = f"{message}; {error.holder} has the store's lock"
    elif isinstance(error, typer.TyperException):
        context: typer.Context | None = getattr(error, "ctx", None)
        code = error.exit_code
        command = context.command_path if context else "sftpgate"
        message = f"{_lower_first(error.format_message())} (see `{command} --help`)"
    elif isinstance(error, typer.Abort):
        return _INTERRUPTED
    else:
        code = ExitCode.FAILED
        message = (
            f"{type(error).__name__}: {error}: this is a bug of sftpgate, please report it (SFTPGATE_LOG_LEVEL=debug shows where)"
        )
        _print_traceback(error)
    from sftpgate.logs import printable

    typer.echo(f"sftpgate: {printable(' '.join(message.split()))}", err=True)
    return code


def _print_traceback(error: Exception) -> None:
    if os.environ.get("SFTPGATE_LOG_LEVEL", "").lower() == "debug":
        import traceback

        traceback.print_exception(error)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
