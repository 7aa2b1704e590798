from __future__ import annotations

import asyncssh
import pytest

from sftpgate.errors import SettingsError
from sftpgate.gateway.ssh import login_hooks
from sftpgate.gateway.ssh.login_hooks import check_asyncssh


def test_the_installed_release_is_known() -> None:
    """The asyncssh that is installed does logins in the way that the gate's wrapper knows."""
    check_asyncssh()


def test_another_release_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a release with another way to do logins the gate does not start, and says which release to install."""
    monkeypatch.setattr(login_hooks, "_EXPECTED", ((asyncssh.SSHServerConnection, "validate_public_key", ["self", "request"]),))
    with pytest.raises(SettingsError, match=r"requirements\.lock"):
        check_asyncssh()
