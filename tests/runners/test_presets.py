"""The presets as the platform's user: stand-ins of its tools, in PHP, as another account of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from sftpgate.app.tools.presets import as_toml
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from tests.harness.accounts import Person, needs_root, needs_sudo
from tests.platforms.world import COMMANDS, STANDINS
from tests.runners.sites import Site, site

pytestmark = [
    needs_root,
    needs_sudo,
    pytest.mark.skipif(shutil.which("php") is None, reason="php-cli is not installed"),
    pytest.mark.timeout(300),
]

FILES = {
    "users.csv": b"username,firstname,lastname,email\nu8,A,B,a@example.org\nu9,C,D,none\n",
    "courses.csv": b"shortname,fullname\nBIO,Biology\n",
    "enrolments.txt": b"add,student,u1,MATH\nadd,pupil,u1,MATH\n",
    "enrols.csv": b"cmd;cid;uid\nadd;MATH;u1\n",
}
STATE = {"users": {"u1": {"username": "u1"}}, "courses": {"MATH": "Mathematics"}, "enrolments": {}}


def install(made: Site, platform: Person) -> Path:
    """A platform of stand-ins that belongs to its user, and the presets for it as settings. Returns the file of its state."""
    code, data = made.directory / "moodle", made.directory / "moodledata"
    shutil.copytree(STANDINS, made.directory / "standins")
    for name, standin in COMMANDS.items():
        script = code / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"<?php require '{made.directory / 'standins' / standin}';\n")
    for directory in ("sync", "flatfile"):
        (data / directory).mkdir(parents=True)
    state = data / "platform.json"
    state.write_text(json.dumps({**STATE, "flatfile": str(data / "flatfile" / "enrolments.txt")}))
    for path in (data, *data.rglob("*")):
        os.chown(path, platform.uid, platform.gid)
        path.chmod(0o700 if path.is_dir() else 0o600)
    for path in (made.directory / "standins", code, *code.rglob("*")):
        path.chmod(0o755)
    hand_in = made.directory / "hand_in.php"
    presets = as_toml(["users", "courses", "flatfile", "enrols"], [])
    [written] = set(re.findall(r'"([^"]*/hand_in\.php)"', presets))
    shutil.copy(written, hand_in)
    hand_in.chmod(0o755)
    environment = f'environment = {{ PLATFORM = "{state}", SYNC_DIRECTORY = "{data / "sync"}" }}\n'
    for before, after in (
        (written, str(hand_in)),
        ("/var/www/moodle", str(code)),
        ("/var/moodledata", str(data)),
        ('# run_as = "www-data"', f'run_as = "{platform.name}"'),
        ("enabled = false", "enabled = true"),
        ('timeout = "1h"\n', f'timeout = "1h"\n{environment}'),
    ):
        assert before in presets
        presets = presets.replace(before, after)
    head = made.settings.read_text().partition("[tools.")[0]
    made.write(head + presets)
    return state


@pytest.mark.parametrize("way", ["root", "sudo"])
def test_presets_as_the_platforms_user(way: str) -> None:
    """A platform whose data only its own user may touch: each preset's tool reads its file there, and the outcome is known."""
    with site("true", top="dir_mode = '0711'") as (made, platform):
        state = install(made, platform)
        by = made.service if way == "sudo" else None
        for tool in ("users", "courses", "flatfile", "enrols"):
            code, _, errors = made("tool", "check", tool, by=by)
            assert (code, errors) == (0, ""), tool
        sent = {path: made.send(path, content) for path, content in FILES.items()}
        code, output, errors = made("run", "--all", by=by)
        assert (code, errors) == (0, ""), output
        outcomes = {path: made.world.runs_of(arrival)[-1].outcome for path, arrival in sent.items()}
        assert outcomes == {
            "users.csv": RunOutcome.DONE_WITH_REJECTED,
            "courses.csv": RunOutcome.DONE,
            "enrolments.txt": RunOutcome.DONE_WITH_REJECTED,
            "enrols.csv": RunOutcome.DONE,
        }
        assert {made.world.now(arrival).state for arrival in sent.values()} == {ArrivalState.DONE}
        known = json.loads(state.read_text())
        assert (set(known["users"]), set(known["courses"])) == ({"u1", "u8"}, {"MATH", "BIO"})
        assert [name for name, _ in known["executed"]] == ["enrols.csv"]
        tryback = made.world.runs_of(sent["users.csv"])[-1].tryback
        assert made.world.report(tryback) == b"username,firstname,lastname,email\nu9,C,D,none\n"
