"""Which sftpgate this is, and what it runs on: for a bug report."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

PARTS = ("asyncssh", "cryptography", "pydantic", "sqlalchemy", "uvloop")
COMMIT_FILE = "commit.txt"  # `make dist` writes it into the package
_GIT_SECONDS = 5


def one_line() -> str:
    """Return what ``--version`` prints."""
    return f"sftpgate {version('sftpgate')} ({commit() or 'commit not known'}, Python {platform.python_version()})"


def commit() -> str:
    """Return the commit that this program was made of: of the wheel, or of the clone that it runs in; empty if nobody knows.

    A clone in which something was changed says so by ``+``.
    """
    packed = files("sftpgate") / COMMIT_FILE
    if packed.is_file():
        return packed.read_text(encoding="ascii").strip()
    top = Path(str(files("sftpgate"))).parent
    if not (top / ".git").exists():
        return ""
    command = ["git", "-C", str(top), "-c", f"safe.directory={top}", "describe", "--always", "--dirty=+", "--match="]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of the program, of what it stands on, and of the machine."""
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return {
        "sftpgate": one_line().removeprefix("sftpgate "),
        "python": f"{platform.python_version()}, {platform.python_compiler()}",
        **{name: version(name) for name in PARTS},
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": system.get("PRETTY_NAME", ""),
    }
