"""The documents say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import (
    CONTRACTS,
    EXPECTED,
    NOTIFICATIONS,
    README,
    ROOT,
    SETTINGS,
    generated_contracts,
    generated_expected_files,
    generated_notifications,
    generated_settings,
)
from sftpgate.cli.commands.settings import TABLES, default_text, gate_rows
from sftpgate.errors import ExitCode
from sftpgate.policy.lifecycle import HoldReason
from sftpgate.settings.durations import duration_text, parse_duration
from sftpgate.settings.tree import ENV_PREFIX, Settings


def test_the_tables_of_settings_are_the_codes() -> None:
    """docs/settings.md and docs/contracts.md have the tables that the settings tree gives; ``make docs`` writes them."""
    assert SETTINGS.read_text(encoding="utf-8") == generated_settings(), "run: make docs"
    assert CONTRACTS.read_text(encoding="utf-8") == generated_contracts(), "run: make docs"
    assert NOTIFICATIONS.read_text(encoding="utf-8") == generated_notifications(), "run: make docs"
    assert EXPECTED.read_text(encoding="utf-8") == generated_expected_files(), "run: make docs"


DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
WIDTH = 100  # characters of a line of prose, so that a diff shows what changed


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a document with their numbers, without code, tables and pictures."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.lstrip().startswith(("|", "![", "<!--")):
            yield number, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_of_documents_are_short(path: Path) -> None:
    """No line of prose in a document has more than 100 characters."""
    assert [number for number, line in prose(path.read_text(encoding="utf-8")) if len(line) > WIDTH] == []


def test_the_exit_codes_are_documented() -> None:
    """docs/exit-codes.md lists every exit code by number and name, and no other."""
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    listed = {(int(number), name) for number, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)}
    assert listed == {(code.value, code.name) for code in ExitCode}


def test_every_setting_says_what_it_is() -> None:
    """Every setting has a description."""
    assert [row["name"] for row in gate_rows() if not row["description"]] == []


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in TABLES])
def test_a_default_can_be_pasted_into_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default that the table shows, read as an environment variable, is the default."""
    default = getattr(Settings(), name)
    monkeypatch.setenv(ENV_PREFIX + name.upper(), default_text(name, Settings.model_fields[name]))
    assert getattr(Settings(), name) == default


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(31536000.0, "365d"), (86400.0, "1d"), (10800.0, "3h"), (1800.0, "30m"), (90.0, "90s"), (0.0, "0"), (1.5, "1.5s")],
)
def test_durations_are_shown_as_people_write_them(seconds: float, text: str) -> None:
    """The default of a duration has a unit, and reads back as what it is."""
    assert duration_text(seconds) == text and parse_duration(text) == seconds
    assert default_text("keep_archives", Settings.model_fields["keep_archives"]) == "365d"


def commands_of(app: object) -> set[str]:
    """Return the commands of the program, as ``store put``; a group is one too."""
    from typer.main import get_command

    def walk(command: object, before: str) -> Iterator[str]:
        for name, below in getattr(command, "commands", {}).items():
            yield f"{before}{name}"
            yield from walk(below, f"{before}{name} ")

    return set(walk(get_command(app), ""))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_commands_exist(path: Path) -> None:
    """A command that a document names is one of the program."""
    from sftpgate.cli.main import app

    commands = commands_of(app)
    groups = {name.split()[0] for name in commands if " " in name}
    text = path.read_text(encoding="utf-8")
    shell = "\n".join(re.findall(r"(?ms)^```(?:sh|console|cron)\n(.*?)^```", text))
    named = set(re.findall(r"`sftpgate ([a-z][a-z-]*)(?: ([a-z]+))?", text))
    named |= set(re.findall(r"(?m)^(?:\$ )?(?:.*(?:&& |\|\| |\| |; |/bin/))?sftpgate ([a-z][a-z-]*)(?: ([a-z]+))?", shell))
    wanted = {f"{first} {second}" if first in groups and second else first for first, second in named}
    assert sorted(wanted - commands) == []


@pytest.mark.parametrize("page", ["senders.md", "senders.fr.md"])
def test_senders_are_told_of_each_hold(page: str) -> None:
    """The page for senders explains each reason for which a file is held, in both languages."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert [reason for reason in HoldReason if f"| `{reason}` |" not in text] == []


def test_the_french_page_has_what_the_english_one_has() -> None:
    """Both pages for senders have the same sections, tables, steps and commands."""
    shapes = [
        [
            re.sub(r"^(#+|\||- |\d\.|```).*", r"\1", line)
            for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
            if re.match(r"#|\||- |\d\.|```", line)
        ]
        for page in ("senders.md", "senders.fr.md")
    ]
    assert shapes[0] == shapes[1]
