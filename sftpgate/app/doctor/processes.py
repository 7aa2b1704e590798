"""The check of ``sftpgate doctor`` on what the server process may do: root, run_as, and the kernel's confinement."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from sftpgate.app.doctor.findings import Findings, error, warning
from sftpgate.gateway.workers.sandbox import kernel_lacks
from sftpgate.settings.choices import Sandbox
from sftpgate.settings.tree import Settings

_NAME = "process"


def check_process(settings: Settings) -> Findings:
    """Yield whether the server would be somebody with too many rights, or with too few."""
    if settings.run_as:
        yield from _check_run_as(settings)
    elif os.geteuid() == 0 and not settings.allow_root and (not settings.store.is_dir() or settings.store.stat().st_uid == 0):
        yield warning(
            _NAME,
            "started by root, the server would stay root",
            "set run_as to a user of its own, and give it data_dir and keys_dir (chown -R); or set allow_root",
        )
    if settings.sandbox is not Sandbox.OFF and (lack := kernel_lacks()) is not None:
        if settings.sandbox is Sandbox.REQUIRED:
            yield error(
                _NAME,
                f'{lack}: with sandbox = "required" the server does not start',
                'set sandbox to "auto", or change the kernel',
            )
        else:
            yield warning(
                _NAME,
                f"{lack}: nothing keeps the server to its directories",
                'Linux 5.19 and newer can, unless it is switched off; or set sandbox to "off"',
            )


def _check_run_as(settings: Settings) -> Findings:
    try:
        user = pwd.getpwnam(settings.run_as)
    except KeyError:
        yield error(_NAME, f"run_as: there is no user {settings.run_as!r} on this machine", "make the user, or change run_as")
        return
    if os.geteuid() not in (0, user.pw_uid):
        yield warning(
            _NAME, f"run_as: only root can become {settings.run_as}", f"start the server as root, or as {settings.run_as}"
        )
    for path in _places(settings):
        if path.exists() and path.stat().st_uid != user.pw_uid:
            yield error(_NAME, f"{path} does not belong to {settings.run_as} (run_as)", f"chown -R {settings.run_as} {path}")


def _places(settings: Settings) -> list[Path]:
    return sorted({settings.data_dir, settings.store, settings.drop, settings.keys_dir})
