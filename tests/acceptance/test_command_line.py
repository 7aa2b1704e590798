"""What holds for every command: help, errors, exit codes, and a quick start."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from sftpgate.cli.catalogue import ENTRIES
from sftpgate.cli.main import app
from sftpgate.errors import ExitCode

if TYPE_CHECKING:
    from tests.harness.command_line import Cli

_HELP_IMPORTS = 12  # modules of ours beside the commands themselves; each costs half a millisecond or more
HELP_CPU_SECONDS = 0.15  # what a person at a completion, and cron every minute, should not feel


def _commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands and groups, with the words that name them."""
    command = command or get_command(app)
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))


COMMANDS = dict(_commands())
LEAVES = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


def test_the_commands_of_the_interface_are_there() -> None:
    """The commands that scripts rely on exist."""
    names = {" ".join(path) for path in LEAVES}
    assert names >= {
        "serve",
        "sweep",
        "verify",
        "arrivals",
        "show",
        "release",
        "discard",
        "status",
        "doctor",
        "settings",
        "quickstart",
    }
    assert names >= {"run", "claim", "done", "fail", "extend", "release", "tool list", "tool show"}
    assert names >= {f"store {name}" for name in ("ls", "tree", "put", "get", "mkdir", "mv", "rm")}
    assert names >= {f"user {name}" for name in ("add", "list", "show", "disable", "enable", "remove", "passwd")}
    assert names >= {f"key {name}" for name in ("add", "list", "remove")}


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_an_example(path: tuple[str, ...]) -> None:
    """The help of each command ends with a line that can be copied."""
    assert re.search(rf"^Example: .*\bsftpgate {' '.join(path)}\b", LEAVES[path].help, re.MULTILINE)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_says_what_it_does(path: tuple[str, ...]) -> None:
    """Each option of each command has a help text, and each listing has --json."""
    options = {option: parameter for parameter in LEAVES[path].params for option in parameter.opts}
    assert [option for option, parameter in options.items() if option.startswith("--") and not parameter.help] == []
    if path[-1] in ("ls", "tree", "list", "show", "arrivals", "status", "doctor", "settings"):
        assert "--json" in options


def test_help_is_quick(cli: Cli) -> None:
    """The whole help takes less than 0.15 s of CPU, the best of five: no command imports more than it needs."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(cli.command("--help"), env=cli.env, cwd=cli.directory, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < HELP_CPU_SECONDS


def test_help_imports_nothing_heavy(cli: Cli) -> None:
    """Help and completion, of whatever commands, do without the database, the settings, SSH and rich."""
    code = (
        "import sys; from sftpgate.cli.main import app; from typer.main import get_command\n"
        "made = list(get_command(app).commands.values()); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [*cli.command()[:1], "-c", code], env=cli.env, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"sqlalchemy", "pydantic", "asyncssh", "rich", "structlog", "cryptography", "asyncio"}.isdisjoint(loaded)
    ours = [name for name in loaded if name.startswith("sftpgate.") and not name.startswith("sftpgate.cli")]
    assert len(ours) <= _HELP_IMPORTS, ours  # what only a command's work needs is imported when it works


def test_a_command_imports_no_other(cli: Cli) -> None:
    """The whole help makes no command, and a command's help that command alone."""
    code = (
        "import sys; from sftpgate.cli.main import main; sys.argv = ['sftpgate', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print(*(name for name in sys.modules if name.startswith('sftpgate.cli.commands.')), file=sys.stderr)"
    )
    for words, modules in (([], []), (["ban", "list"], ["sftpgate.cli.commands.bans"])):
        done = subprocess.run(
            [*cli.command()[:1], "-c", code, *words, "--help"], env=cli.env, capture_output=True, text=True, check=True
        )
        assert done.stderr.split() == modules
        assert "Usage: sftpgate" in done.stdout


def test_the_whole_help_says_what_the_commands_say() -> None:
    """The root's help lists each command with the first sentence of its own help, and hides what is hidden."""
    made = {path[0]: command for path, command in COMMANDS.items() if len(path) == 1}
    said = {entry.name: (entry.sentence, entry.hidden) for entry in ENTRIES}
    assert said == {name: (command.get_short_help_str(1000), command.hidden) for name, command in made.items()}


@pytest.mark.parametrize(
    ("words", "position", "wanted"), [("sftpgate ba", 1, {"backup", "ban"}), ("sftpgate ban l", 2, {"list"})]
)
def test_completion(cli: Cli, words: str, position: int, wanted: set[str]) -> None:
    """A shell completes commands, and the commands of a group; hidden ones are not offered."""
    asked = {"_SFTPGATE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(position)}
    done = subprocess.run(cli.command(), env=cli.env | asked, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == wanted, done.stderr


def test_no_command_shows_the_help(cli: Cli) -> None:
    """`sftpgate` alone is a usage error that shows the commands; `-h` is `--help`."""
    result = subprocess.run(cli.command(), env=cli.env, cwd=cli.directory, capture_output=True, text=True, check=False)
    assert result.returncode == ExitCode.USAGE
    assert result.stderr == cli("-h").out == cli("--help").out


def test_the_version(cli: Cli) -> None:
    """`--version` is one line, with what a bug report needs: the commit, and the Python."""
    is_clone = (Path(__file__).resolve().parents[2] / ".git").exists()
    commit = r"[0-9a-f]{7,40}\+?" if is_clone else "commit not known"
    wanted = rf"sftpgate {re.escape(version('sftpgate'))} \({commit}, Python {re.escape(platform.python_version())}\)\n"
    assert re.fullmatch(wanted, cli("--version").out)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["nonsense"], "sftpgate --help"),
        (["store"], "sftpgate store --help"),
        (["show"], "sftpgate show --help"),
        (["arrivals", "--limit", "x"], "sftpgate arrivals --help"),
        (["arrivals", "--state", "x"], "sftpgate arrivals --help"),
        (["store", "ls", "--nonsense"], "sftpgate store ls --help"),
        (["store", "ls", "a\x1b[31m", "b"], "sftpgate store ls --help"),
    ],
)
def test_a_command_that_is_not_written_right(cli: Cli, arguments: list[str], hint: str) -> None:
    """A usage error is one line that says where the help is, and exit code 2."""
    result = cli(*arguments, code=ExitCode.USAGE)
    assert result.err.startswith("sftpgate: ")
    assert hint in result.err
    assert "\x1b" not in result.err
    assert result.out == ""


def test_settings_that_are_not_usable(cli: Cli) -> None:
    """Bad settings are one line that names the key, and exit code 78, whatever is bad and whatever the command."""
    commands = (["status"], ["arrivals"], ["store", "ls"], ["sweep"])
    bad = (("SFTPGATE_PORT", "x", "port"), ("SFTPGATE_PROT", "22", "port"), ("SFTPGATE_CONFIG", "/nowhere.toml", "/nowhere.toml"))
    tried = [(command, *bad[0]) for command in commands] + [(["status"], *each) for each in bad[1:]]  # each is a process
    for command, name, value, said in tried:
        cli.environment[name] = value
        err = cli(*command, code=ExitCode.BAD_SETTINGS).err
        assert err.startswith("sftpgate: ")
        assert said in err.lower()
        del cli.environment[name]


def test_a_reader_that_goes_away(cli: Cli) -> None:
    """Where the reader of the output is gone, a command ends quietly, as if SIGPIPE had ended it."""
    cli("store", "mkdir", "a")
    for number in range(3000):
        (cli.store / f"file-with-a-long-name-{number}.csv").touch()
    reading, writing = os.pipe()
    process = subprocess.Popen(
        cli.command("store", "ls", "--json"), env=cli.env, cwd=cli.directory, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == 141


def test_a_bug_is_one_line(cli: Cli) -> None:
    """What nobody foresaw is said to be a bug in one line; the traceback is for SFTPGATE_LOG_LEVEL=debug."""
    code = (
        "import sys; from sftpgate.cli import main; sys.argv = ['sftpgate', 'boom']\n"
        "@main.app.command()\ndef boom(): raise RuntimeError('a\\nb')\nmain.main()"
    )
    command = [*cli.command()[:1], "-c", code]
    for level, lines in (("info", 1), ("debug", 5)):
        env = {**cli.env, "SFTPGATE_LOG_LEVEL": level}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == ExitCode.FAILED
        assert "RuntimeError: a b: this is a bug" in done.stderr.splitlines()[-1]
        assert (len(done.stderr.splitlines()) == 1) if lines == 1 else ("Traceback" in done.stderr)


def test_a_disk_that_refuses_is_no_bug(cli: Cli) -> None:
    """Where the data directory cannot be made, the error says so in one line, and the exit code that it may work later."""
    (cli.directory / "data").write_text("a file")
    err = cli("store", "mkdir", "a", code=None).err
    assert err.startswith("sftpgate: ")
    assert "bug" not in err


def test_shell_completion(cli: Cli) -> None:
    """Typer's completion is there for bash, and completes commands and states."""
    cli.environment["_SFTPGATE_COMPLETE"] = "source_bash"
    assert "_SFTPGATE_COMPLETE=complete_bash" in cli().out
    cli.environment |= {"_SFTPGATE_COMPLETE": "complete_bash", "COMP_WORDS": "sftpgate sto", "COMP_CWORD": "1"}
    assert cli().out.split() == ["store"]
    cli.environment |= {"COMP_WORDS": "sftpgate arrivals --state wai", "COMP_CWORD": "3"}
    assert cli().out.split() == ["waiting"]
