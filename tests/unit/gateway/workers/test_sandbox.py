"""When a process is not confined, and what is said then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftpgate.gateway.workers.sandbox import directory_of, kernel_lacks

# in a process of its own: it would hold for all tests that follow
PROBE = """
import sys, threading
from pathlib import Path
from sftpgate.errors import SettingsError
from sftpgate.gateway.workers.sandbox import confine
from sftpgate.settings.choices import Sandbox
if sys.argv[1] == "threads":
    go_on = threading.Event()
    threading.Thread(target=go_on.wait, daemon=True).start()
own = Path("/") if sys.argv[1] == "root" else Path("/nonexistent")
assert confine(Sandbox.OFF, [], [own]) is False
assert confine(Sandbox.AUTO, [], [own]) is False
try:
    confine(Sandbox.REQUIRED, [], [own])
except SettingsError as error:
    print(error.message)
assert list(Path("/").iterdir())
"""


@pytest.mark.promise("P1")
def test_a_kernel_must_let_files_be_moved() -> None:
    """A kernel confines where it has Landlock, and one that lets files be moved to another directory."""
    assert [kernel_lacks(version) is None for version in (0, 1, 2, 3, 7)] == [False, False, True, True, True]


@pytest.mark.parametrize(("case", "why"), [("root", "one of them is /"), ("threads", "other threads")])
def test_a_process_that_cannot_be_confined(case: str, why: str) -> None:
    """Where it would allow everything, or not hold for every thread, "auto" goes on and warns, "required" does not."""
    if kernel_lacks() is not None:
        pytest.skip("this kernel has no Landlock")
    words = [sys.executable, "-c", PROBE, case]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sandbox.none") == 1 and "sandbox.in_force" not in done.stdout
    assert 'sandbox = "required"' in done.stdout.splitlines()[-1] and why in done.stdout.splitlines()[-1]


def test_the_directory_of_a_file(tmp_path: Path) -> None:
    """Links are followed to the directory that a file is in; of a file in the root directory it is the file alone."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").touch()
    (tmp_path / "link").symlink_to("there/file")
    assert directory_of(tmp_path / "link") == (tmp_path / "there").resolve()
    assert directory_of(Path("/file")) == Path("/file")


IMPORTS = """
import sys
from pathlib import Path
import sftpgate
from sftpgate.gateway.workers.sandbox import confine
from sftpgate.settings.choices import Sandbox
package = Path(sftpgate.__file__).parent
# listed before: a confined walk would skip what it cannot read
files = [file.relative_to(package).with_suffix("") for file in package.rglob("*.py")]
names = [".".join(["sftpgate", *file.parts]).removesuffix(".__init__") for file in files if file.name != "__main__"]
assert len(names) > 100 and confine(Sandbox.REQUIRED, [], [Path(sys.argv[1])])
for name in names:
    __import__(name)
"""


def test_a_confined_process_can_import_the_program(tmp_path: Path) -> None:
    """Whatever of the program was not imported yet can be read by a confined process, wherever the program lies."""
    if kernel_lacks() is not None:
        pytest.skip("this kernel has no Landlock")
    words = [sys.executable, "-P", "-c", IMPORTS, str(tmp_path)]
    scratch = os.environ | {"TMPDIR": str(tmp_path)}  # some libraries ask for one when they are imported
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=scratch)
    assert done.returncode == 0, done.stderr
