"""The ``sftpgate`` command: what it is called with, and what a script sees of an error.

An error is one line on stderr, ``sftpgate: …``, and an exit code of ``docs/exit-codes.md``; this module is the only
place where one becomes the other. ``sftpgate --help`` and shell completion must be quick, and cron starts a process a
minute: commands are made when they are asked for (``catalogue``), their modules import nothing but typer and the standard
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

from sftpgate.cli.catalogue import Root
from sftpgate.cli.command_record import record_command
from sftpgate.errors import ExitCode, SftpgateError, StoreBusy

# 128 and the signal's number, as shells have it
_INTERRUPTED = 130
_BROKEN_PIPE = 141

app = typer.Typer(
    name="sftpgate",
    cls=Root,
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


# Objects between two collections: most of what a command makes are modules, and nothing of them is garbage.
COLLECT_AFTER = 50_000


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
