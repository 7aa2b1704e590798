"""Where fault tests keep their files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def base() -> Iterator[Path]:
    """An empty directory, in memory where the machine has that."""
    memory = Path("/dev/shm")
    directory = tempfile.mkdtemp(prefix="sftpgate-faults-", dir=memory if os.access(memory, os.W_OK) else None)
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
