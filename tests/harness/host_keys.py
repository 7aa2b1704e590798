"""Host keys that tests may have without making them: three are made once for a test process, and copied."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from sftpgate.users.host_keys.files import ensure_host_keys


def give_host_keys(keys_dir: Path) -> None:
    """Do what ``ensure_host_keys`` does, with keys that other directories have too.

    An RSA key of the size that the server makes takes 0.2 s of processor time on average.
    """
    if not (keys_dir / "host").exists():
        shutil.copytree(_made() / "host", keys_dir / "host")
    ensure_host_keys(keys_dir)  # has nothing to make


@cache
def _made() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="sftpgate-host-keys-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    ensure_host_keys(directory)
    return directory
