"""Who does not serve pages does not pay for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIBRARIES = ("starlette", "fastapi", "uvicorn", "jinja2", "authlib", "webauthn", "babel", "httpx", "segno", "pyotp")


@pytest.mark.parametrize(
    "module",
    [
        "sftpgate.cli.main",
        "sftpgate.app.serving.supervisor_process",
        "sftpgate.app.serving.worker_process",
        "sftpgate.app.serving.followers",
        "sftpgate.app.runs.passes",
        "sftpgate.cli.commands.console",
    ],
)
def test_no_other_process_imports_their_libraries(module: str) -> None:
    """Commands, runners, supervisor, workers and followers run without the libraries of API and console."""
    code = f"import {module}, sys; print(*({set(LIBRARIES)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
