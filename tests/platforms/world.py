"""A learning platform of stand-ins beside a gate: the commands of its tools, in PHP, where the presets look for them."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from sftpgate.app.tools.presets import as_toml

STANDINS = Path(__file__).parent / "standins"
COMMANDS = {
    "admin/tool/uploaduser/cli/uploaduser.php": "uploaduser.php",
    "admin/tool/uploadcourse/cli/uploadcourse.php": "uploadcourse.php",
    "enrol/flatfile/cli/sync.php": "flatfile_sync.php",
    "admin/cli/scheduled_task.php": "sync_task.php",
}


@dataclass
class Platform:
    """The platform of one test. ``code`` is where its scripts are, ``data`` its data directory."""

    code: Path
    data: Path
    state_file: Path

    @classmethod
    def make(cls, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
        """A platform with a few users and courses, which its scripts find by the environment."""
        made = cls(directory / "moodle", directory / "moodledata", directory / "platform.json")
        for path, standin in COMMANDS.items():
            script = made.code / path
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(f"<?php require '{STANDINS / standin}';\n")
        for name in ("sync", "flatfile"):
            (made.data / name).mkdir(parents=True)
        made.state = {
            "users": {"u1": {"username": "u1", "email": "u1@example.org"}, "u2": {"username": "u2"}},
            "courses": {"MATH": "Mathematics"},
            "enrolments": {},
            "flatfile": str(made.data / "flatfile" / "enrolments.txt"),
        }
        monkeypatch.setenv("PLATFORM", str(made.state_file))
        monkeypatch.setenv("SYNC_DIRECTORY", str(made.data / "sync"))
        return made

    def preset(self, *names: str) -> dict[str, dict[str, object]]:
        """The tables of presets as they are printed, but for the two paths of a platform."""
        text = as_toml(list(names), []).replace("/var/moodledata", str(self.data)).replace("/var/www/moodle", str(self.code))
        tables: dict[str, dict[str, object]] = tomllib.loads(text)["tools"]
        return {name: {**table, "enabled": True} for name, table in tables.items()}

    @property
    def state(self) -> dict[str, object]:
        """What the platform knows."""
        found: dict[str, object] = json.loads(self.state_file.read_text())
        return found

    @state.setter
    def state(self, state: dict[str, object]) -> None:
        self.state_file.write_text(json.dumps(state))

    @property
    def away(self) -> Path:
        """A file that says that the database is away."""
        return self.state_file.with_name(f"{self.state_file.name}.away")
