"""The documents say what the code does."""

from __future__ import annotations

import re

import pytest

from docs.generate import README, ROOT, generated_readme
from sftpgate.cli.settings_table import default_text, gate_rows
from sftpgate.errors import ExitCode
from sftpgate.settings import ENV_PREFIX, Settings, duration_text, parse_duration


def test_the_readme_has_the_settings_that_the_code_has() -> None:
    """The README's table of settings is the one that the settings tree gives; ``make docs`` writes it."""
    assert README.read_text(encoding="utf-8") == generated_readme(), "run: make docs"


def test_the_exit_codes_are_documented() -> None:
    """docs/exit-codes.md lists every exit code by number and name, and no other."""
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    listed = {(int(number), name) for number, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)}
    assert listed == {(code.value, code.name) for code in ExitCode}


def test_every_setting_says_what_it_is() -> None:
    """Every setting has a description."""
    assert [row["name"] for row in gate_rows() if not row["description"]] == []


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "tools"])
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
