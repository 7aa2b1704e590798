from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from sftpgate.users.passwords import verify
from sftpgate.users.registry import UserRegistry
from tests.harness import commands

PASSWORD = "correct horse battery"
Run = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: str) -> list[str]:
    """The command line of sftpgate."""
    return [sys.executable, "-m", "sftpgate", *arguments]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with settings of its own."""
    return commands.clean_environment(KEYS_DIR=tmp_path / "keys")


@pytest.fixture
def sftpgate(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run a command; it must end with ``code``, and print no traceback."""

    def run(*arguments: str, text: str = "", code: int = ExitCode.OK) -> subprocess.CompletedProcess[str]:
        ended = commands.run(*arguments, text=text.encode(), cwd=tmp_path, env=environment)
        done = subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def registry(tmp_path: Path) -> UserRegistry:
    """What the commands changed."""
    return UserRegistry(tmp_path / "keys")


def key_file(directory: Path, name: str, *arguments: str) -> Path:
    """The public key file of a pair that ssh-keygen makes."""
    path = directory / name
    made = ["ssh-keygen", "-q", "-N", "", "-C", name, "-f", str(path), *(arguments or ("-t", "ed25519"))]
    subprocess.run(made, check=True)
    return path.with_suffix(".pub")


def fingerprint(path: Path) -> str:
    """What ``ssh-keygen -l`` shows."""
    return subprocess.run(["ssh-keygen", "-l", "-f", str(path)], check=True, capture_output=True, text=True).stdout.split()[1]


def test_a_user_from_beginning_to_end(sftpgate: Run, registry: UserRegistry, tmp_path: Path) -> None:
    """A user is added with key, password and home, listed, shown, disabled, enabled and removed."""
    key = key_file(tmp_path, "erp")
    added = sftpgate("user", "add", "erp", "--key", str(key), "--password-stdin", "--home", "north", text=PASSWORD + "\n")
    assert fingerprint(key) in added.stdout
    assert added.stderr == ""
    [listed] = json.loads(sftpgate("user", "list", "--json").stdout)
    assert (listed["name"], listed["state"], listed["home"], listed["keys"], listed["password"]) == (
        "erp",
        "active",
        "north",
        1,
        True,
    )
    shown = json.loads(sftpgate("user", "show", "erp", "--json").stdout)
    assert [found["fingerprint"] for found in shown["keys"]] == [fingerprint(key)]
    assert "erp" in sftpgate("user", "list").stdout
    assert fingerprint(key) in sftpgate("user", "show", "erp").stdout
    sftpgate("user", "disable", "erp")
    assert json.loads(sftpgate("user", "show", "erp", "--json").stdout)["state"] == "disabled"
    sftpgate("user", "enable", "erp")
    user = registry.load("erp")
    assert not user.disabled
    assert verify(user.password_hash, PASSWORD)
    sftpgate("user", "remove", "erp", "--yes")
    assert json.loads(sftpgate("user", "list", "--json").stdout) == []


def test_no_listing_shows_a_password_hash(sftpgate: Run) -> None:
    """Neither list nor show prints the hash of a password."""
    sftpgate("user", "add", "erp", "--password-stdin", text=PASSWORD)
    for arguments in (("list",), ("list", "--json"), ("show", "erp"), ("show", "erp", "--json")):
        assert "argon2" not in sftpgate("user", *arguments).stdout


def test_a_user_without_key_and_password_is_told_of(sftpgate: Run) -> None:
    """Adding a user who cannot log in yet works, and says what to do next."""
    added = sftpgate("user", "add", "erp")
    assert "nobody can log in" in added.stderr
    assert "sftpgate key add erp" in added.stderr
    assert "sftpgate user passwd erp" in added.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("user", "show", "nobody"), ExitCode.NOT_FOUND, "no user"),
        (("user", "disable", "nobody"), ExitCode.NOT_FOUND, "no user"),
        (("user", "remove", "nobody", "--yes"), ExitCode.NOT_FOUND, "no user"),
        (("user", "passwd", "nobody", "--generate"), ExitCode.NOT_FOUND, "no user"),
        (("key", "list", "nobody"), ExitCode.NOT_FOUND, "no user"),
        (("key", "remove", "there", "SHA256:x"), ExitCode.NOT_FOUND, "fingerprint"),
        (("key", "add", "there", "missing.pub"), ExitCode.NOT_FOUND, "missing.pub"),
        (("user", "add", "there"), ExitCode.FAILED, "already"),
        (("user", "add", "ERP"), ExitCode.REFUSED, "rule"),
        (("user", "add", "erp", "--home", "../x"), ExitCode.REFUSED, "rule"),
        (("user", "add", "erp", "--home", "reports"), ExitCode.REFUSED, "reserved"),
        (("user", "remove", "there"), ExitCode.REFUSED, "--yes"),
        (("user", "passwd", "there"), ExitCode.REFUSED, "--password-stdin"),
        (("user", "passwd", "there", "--generate", "--remove"), ExitCode.USAGE, "only one"),
        (("user", "passwd", "there", "secret"), ExitCode.USAGE, ""),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_refusals_are_one_line_and_an_exit_code(sftpgate: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    """What cannot be done is one line on stderr and the exit code for it."""
    sftpgate("user", "add", "there")
    done = sftpgate(*arguments, code=code)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_short_passwords_are_refused_and_make_no_user(sftpgate: Run) -> None:
    """A password that is too short is refused with the rule, and nothing was made."""
    assert "12 characters" in sftpgate("user", "add", "erp", "--password-stdin", text="short\n", code=ExitCode.REFUSED).stderr
    assert json.loads(sftpgate("user", "list", "--json").stdout) == []


def test_passwords_are_set_generated_and_removed(sftpgate: Run, registry: UserRegistry) -> None:
    """A password comes from standard input or is generated and printed alone on stdout; it can be removed."""
    sftpgate("user", "add", "erp")
    sftpgate("user", "passwd", "erp", "--password-stdin", text=PASSWORD + "\r\n")
    assert verify(registry.load("erp").password_hash, PASSWORD)
    generated = sftpgate("user", "passwd", "erp", "--generate").stdout
    assert verify(registry.load("erp").password_hash, generated.removesuffix("\n"))
    assert "nobody can log in" in sftpgate("user", "passwd", "erp", "--remove").stderr
    assert registry.load("erp").password_hash is None


def typed(
    arguments: Sequence[str], answers: Sequence[tuple[str, str]], environment: dict[str, str], cwd: Path
) -> tuple[int, str]:
    """Exit code and screen of a command on a terminal, where each prompt of ``answers`` is answered as it appears."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # a hidden prompt reads the controlling terminal
    )
    os.close(theirs)
    screen, seen = "", 0
    waiting = list(answers)
    try:
        while select.select([ours], [], [], 30)[0]:
            try:
                screen += os.read(ours, 1024).decode()
            except OSError:  # the terminal is closed: the child has ended
                break
            if waiting and waiting[0][0] in screen[seen:]:
                seen = len(screen)
                os.write(ours, waiting.pop(0)[1].encode() + b"\n")
        return child.wait(30), screen
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def test_a_terminal_is_asked_twice_without_showing_the_password(
    sftpgate: Run, registry: UserRegistry, environment: dict[str, str], tmp_path: Path
) -> None:
    """On a terminal a password is asked for twice, and is not on the screen."""
    sftpgate("user", "add", "erp")
    # the blank is written after what was typed too early has been thrown away
    code, screen = typed(["user", "passwd", "erp"], [("Password: ", PASSWORD), ("again: ", PASSWORD)], environment, tmp_path)
    assert code == ExitCode.OK
    assert PASSWORD not in screen
    assert verify(registry.load("erp").password_hash, PASSWORD)


@pytest.mark.parametrize(("answer", "code"), [("y", ExitCode.OK), ("n", ExitCode.REFUSED)])
def test_a_terminal_is_asked_before_a_user_is_removed(
    answer: str, code: int, sftpgate: Run, registry: UserRegistry, environment: dict[str, str], tmp_path: Path
) -> None:
    """On a terminal a removal is confirmed, and a no leaves the user as it is."""
    sftpgate("user", "add", "erp")
    assert typed(["user", "remove", "erp"], [("Remove the user erp", answer)], environment, tmp_path)[0] == code
    assert (registry.get("erp") is None) is (answer == "y")


def test_keys_overlap_during_a_rotation(sftpgate: Run, tmp_path: Path) -> None:
    """A new key joins the old one, with label, expiry and addresses; then the old one goes."""
    old, new = key_file(tmp_path, "old"), key_file(tmp_path, "new", "-t", "ecdsa")
    sftpgate("user", "add", "erp", "--key", str(old))
    sftpgate(
        "key", "add", "erp", str(new), "--label", "from 2030", "--expires", "2999-12-31", "--from", "192.0.2.0/24,!192.0.2.7"
    )
    first, second = json.loads(sftpgate("key", "list", "erp", "--json").stdout)
    assert (first["fingerprint"], first["label"], first["expires_at"], first["from"]) == (fingerprint(old), "old", None, [])
    assert (second["fingerprint"], second["label"], second["state"]) == (fingerprint(new), "from 2030", "active")
    assert (second["expires_at"], second["from"]) == ("2999-12-31T00:00:00.000Z", ["192.0.2.0/24", "!192.0.2.7"])
    sftpgate("key", "remove", "erp", fingerprint(old))
    assert [key["fingerprint"] for key in json.loads(sftpgate("key", "list", "--json").stdout)] == [fingerprint(new)]
    assert "nobody can log in" in sftpgate("key", "remove", "erp", fingerprint(new)).stderr


def test_a_key_from_standard_input(sftpgate: Run, tmp_path: Path) -> None:
    """The file name - stands for standard input."""
    path = key_file(tmp_path, "erp")
    sftpgate("user", "add", "erp")
    assert fingerprint(path) in sftpgate("key", "add", "erp", "-", text=path.read_text()).stdout


def test_weak_and_wrong_keys_are_refused(sftpgate: Run, registry: UserRegistry, tmp_path: Path) -> None:
    """A short RSA key, a private key and a key that is there already are refused with the reason, and nothing is stored."""
    sftpgate("user", "add", "erp")
    weak = key_file(tmp_path, "weak", "-t", "rsa", "-b", "1024")
    assert "1024 bits" in sftpgate("key", "add", "erp", str(weak), code=ExitCode.REFUSED).stderr
    good = key_file(tmp_path, "good")
    assert "private key" in sftpgate("key", "add", "erp", str(good.with_suffix("")), code=ExitCode.REFUSED).stderr
    assert registry.load("erp").keys == ()
    sftpgate("key", "add", "erp", str(good))
    assert "already" in sftpgate("key", "add", "erp", str(good), code=ExitCode.REFUSED).stderr


def test_labels_cannot_paint_the_terminal(sftpgate: Run, tmp_path: Path) -> None:
    """Control characters in a key's comment are shown as escapes."""
    path = key_file(tmp_path, "erp")
    path.write_text(path.read_text().strip() + " \x1b[31mred\n")
    sftpgate("user", "add", "erp", "--key", str(path))
    for arguments in (("key", "list"), ("user", "show", "erp"), ("key", "remove", "erp", fingerprint(path))):
        shown = sftpgate(*arguments).stdout
        assert "\\x1b[31mred" in shown
        assert "\x1b" not in shown


def test_one_unreadable_user_hides_no_other(sftpgate: Run, tmp_path: Path) -> None:
    """A user whose file is broken is listed as unreadable, with the reason; showing it is an error that names the key."""
    sftpgate("user", "add", "bad")
    sftpgate("user", "add", "good")
    (tmp_path / "keys" / "users" / "bad" / "user.toml").write_text("hmoe = 'x'\n")
    bad, good = json.loads(sftpgate("user", "list", "--json").stdout)
    assert (bad["state"], good["name"]) == ("unreadable", "good")
    assert "did you mean home" in bad["problem"]
    assert "did you mean home" in sftpgate("user", "show", "bad", code=ExitCode.BAD_SETTINGS).stderr


@pytest.mark.parametrize(
    "arguments",
    [("user", name) for name in ("add", "list", "show", "disable", "enable", "remove", "passwd")]
    + [("key", name) for name in ("add", "list", "remove")],
    ids="-".join,
)
def test_every_command_has_an_example(sftpgate: Run, arguments: tuple[str, str]) -> None:
    """The help of each command has an example."""
    assert f"Example: sftpgate {' '.join(arguments)}" in sftpgate(*arguments, "--help").stdout


def test_help_is_quick(environment: dict[str, str]) -> None:
    """Asking for help imports none of the libraries that take long."""
    program = (
        "import sys, sftpgate.cli.commands.users\n"
        "assert not {'pydantic', 'cryptography', 'argon2', 'structlog', 'rich', 'asyncssh', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=30)


def test_quotas_are_given_shown_and_taken_back(sftpgate: Run, tmp_path: Path, registry: UserRegistry) -> None:
    """They are written with their units beside an admin's remarks, shown with what is in force, and refused together."""
    sftpgate("user", "add", "erp")
    file = tmp_path / "keys/users/erp/user.toml"
    file.write_text(file.read_text() + "# ask Ada first\n")
    shown = sftpgate("user", "quota", "erp", "--max-upload-bytes", "1GiB", "--max-pending-files", "7", "--json")
    row = json.loads(shown.stdout)
    assert (row["max_upload_bytes"], row["max_pending_files"], row["max_daily_bytes"]) == (2**30, 7, 0)
    assert row["own_quotas"] == ["max_upload_bytes", "max_pending_files"]
    assert '"1GiB"' in file.read_text() and "# ask Ada first" in file.read_text()
    refused = sftpgate(
        "user", "quota", "erp", "--max-upload-bytes", "2GiB", "--max-daily-bytes", "much", code=ExitCode.BAD_SETTINGS
    )
    assert 'max_daily_bytes is a number of bytes, or a text such as "1GiB"' in refused.stderr
    assert registry.load("erp").quotas.max_upload_bytes == 2**30
    sftpgate("user", "quota", "erp", "--max-upload-bytes", "default")
    shown = sftpgate("user", "show", "erp")
    assert "own quotas" in shown.stdout and "sent today bytes" in shown.stdout
    assert registry.load("erp").quotas.max_upload_bytes is None
