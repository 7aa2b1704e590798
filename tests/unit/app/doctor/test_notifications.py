"""What ``doctor`` says of notifications whose files, commands or packages are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sftpgate.app.doctor.findings import Level
from sftpgate.app.doctor.notifications import check_notifications
from sftpgate.settings.tree import Settings
from tests.harness.notified import HMAC_KEY

MAIL = {"host": "mx.example", "sender": "gate@school.example"}
HOOK = {"url": "https://hooks.example/x", "keys": [HMAC_KEY]}


def found(**notify: object) -> list[tuple[Level, str]]:
    """The findings for a table of settings."""
    return [(each.level, each.finding) for each in check_notifications(Settings.model_validate({"notify": notify}))]


def test_nothing_is_wrong() -> None:
    """Without notifications, and with a receiver whom a rule names, there is nothing to say."""
    assert found() == []
    assert found(to={"hook": HOOK}, rules={"all": {"events": "arrival.*", "to": "hook"}}) == []


def test_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file, command and package that is not there is an error that names its key; a receiver without a rule is a warning."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    missing = tmp_path / "missing"
    to = {
        "hook": HOOK | {"ca_file": str(missing)},
        "pager": {"command": ["/nowhere/pager"]},
        "chat": {"chat": "slack://t0ken"},
        "alone": HOOK,
    }
    rules = {"all": {"events": "arrival.*", "to": "hook pager chat"}}
    login = {"user": "gate", "password_file": str(missing)}
    said = found(mail=MAIL | login, to=to, rules=rules)
    assert [level for level, _ in said] == [Level.ERROR] * 4 + [Level.WARNING]
    keys = ["notify.mail.password_file", "notify.to.hook.ca_file", "notify.to.pager", "notify.to.chat", "notify.to.alone"]
    assert all(key in sentence for key, (_, sentence) in zip(keys, said, strict=True))
    assert not any("t0ken" in sentence for _, sentence in said)
