"""The lock files: what is installed everywhere, and nothing about where it came from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def _pinned(lock: str) -> dict[str, str]:
    """Name and version of each package of a lock file."""
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / lock).read_text(encoding="ascii"), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_locked(lock: str) -> None:
    """A dependency that pyproject.toml names is in the lock files; ``make lock`` puts it there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["build"]
    wanted += project["project"]["optional-dependencies"]["console"]  # which `make` installs
    if lock == "requirements-dev.lock":
        wanted += project["dependency-groups"]["test"] + project["dependency-groups"]["lint"]
    names = {re.split(r"[<>=\[;~! ]", requirement)[0].lower() for requirement in wanted}
    assert names <= set(_pinned(lock)), "run: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_hashes_and_no_address(lock: str) -> None:
    """pip can check each package against its hashes, and the file names no registry and no path of a machine."""
    text = (ROOT / lock).read_text(encoding="ascii")
    assert not re.search(r"://|--index|--find-links|^ *[^#]*\s/", text, re.MULTILINE)
    for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in entry, entry


def test_both_locks_agree() -> None:
    """What runs in production is what was tested: the same versions."""
    runtime, development = (_pinned(lock) for lock in LOCKS)
    assert {name: development.get(name) for name in runtime} == runtime
