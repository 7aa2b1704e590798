"""Rules of the code that the linters cannot see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from sftpgate.errors import StorageError, only_error

PACKAGE = Path(__file__).resolve().parents[2] / "sftpgate"
MOVES = {"rename", "hardlink_to", "symlink_to", "link_to"}


def _journal(tree: ast.AST) -> Iterator[int]:
    """The lines that call a method which moves or links a file. ``Path.replace`` takes one argument, ``str.replace`` two."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            one_positional = len(node.args) == 1 and not node.keywords
            if (node.func.attr in MOVES and not _is_our_own(node.func)) or (node.func.attr == "replace" and one_positional):
                yield node.lineno


def _is_our_own(call: ast.Attribute) -> bool:
    """Whether the method is one of our own objects (``self.disk.rename``), and not of a Path called ``path``."""
    receiver = ast.unparse(call.value)
    return not receiver.lower().endswith(("path", "file", "target", "source", "disk_path.local"))


def test_only_the_disk_module_moves_files() -> None:
    """No module but store/disk.py calls a Path's rename, replace or link methods (ruff bans the functions of os and shutil)."""
    found = [
        f"{module.relative_to(PACKAGE.parent)}:{line}"
        for module in sorted(PACKAGE.rglob("*.py"))
        if module != PACKAGE / "store" / "disk.py"
        for line in _journal(ast.parse(module.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_package_inits_hold_a_docstring_only() -> None:
    """An ``__init__.py`` says what its package is, and re-exports nothing."""
    for init in sorted(PACKAGE.rglob("__init__.py")):
        tree = ast.parse(init.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), init
        assert len(tree.body) == 1, init


def test_no_except_star_raises() -> None:
    """No ``except*`` raises: what it raises is in a group again on Python 3.11.2, and not on later ones (errors.only_error)."""
    found = [
        f"{module.relative_to(PACKAGE.parent)}:{node.lineno}"
        for module in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.TryStar)
        and any(isinstance(inner, ast.Raise) for each in node.handlers for inner in ast.walk(each))
    ]
    assert found == []


def test_the_only_error_of_a_group() -> None:
    """An error of ours comes out of a group, and of groups in it, unless there is something else in it that must be seen."""
    error = StorageError("disk")
    assert only_error(ExceptionGroup("", [ExceptionGroup("", [error])]), StorageError) is error
    mixed = ExceptionGroup("", [error, ValueError("bug")])
    assert only_error(mixed, StorageError) is mixed


ADDS_ARRIVALS = {
    "handover/changes.py",  # content that nobody knew, and that goes into the archives
    "handover/placement/placer.py",
    "upkeep/recovery.py",  # what the ledger has lost: it is where it is already
}


def test_arrivals_are_made_in_one_place() -> None:
    """A file becomes an arrival by the rules of ``policy.placement``: nobody but the placer records one that runners can take."""
    found = {
        str(module.relative_to(PACKAGE))
        for module in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("change.add", "self.add")
    }
    assert found == ADDS_ARRIVALS


def test_unit_tests_lie_where_their_subjects_lie() -> None:
    """Each directory of tests/unit is a package of sftpgate, so that the tests of a module are found by its path."""
    unit = Path(__file__).parent
    directories = {file.parent.relative_to(unit) for file in unit.rglob("test_*.py")}
    assert [str(path) for path in sorted(directories) if not (PACKAGE / path / "__init__.py").is_file()] == []


UPLOADS = {"upload.py", "progress.py", "fate.py"}
PARTS = ("upload", "fate", "progress", "note", "origin", "identity", "bounds")


def test_nobody_sets_what_an_upload_is() -> None:
    """What is settled about an upload, how far it is and what becomes of it is set by the upload alone: others ask it to."""
    found = [
        f"{module.relative_to(PACKAGE.parent)}:{node.lineno}"
        for module in sorted(PACKAGE.rglob("*.py"))
        if module.parent.name != "uploads" or module.name not in UPLOADS
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value).rpartition(".")[2] in (*PARTS, "other", "resumed")
    ]
    assert found == []


MOST_MODULES = 12
MANY_CLASSES = 300  # a search that finds fewer does not find
SHELVES = {"policy", "cli/commands"}  # of small things that one looks up by name


def test_no_room_is_too_full() -> None:
    """No package has more than twelve modules on one level, but for the shelves: what is more is a room of its own."""
    inits = [PACKAGE / "__init__.py", *PACKAGE.rglob("*/__init__.py")]
    counts = {str(init.parent.relative_to(PACKAGE)): len(list(init.parent.glob("[!_]*.py"))) for init in inits}
    assert {room: count for room, count in counts.items() if count > MOST_MODULES and room not in SHELVES} == {}


def test_a_class_has_a_name_of_its_own() -> None:
    """No two modules define a public class of one name: a reader who meets it need not ask which of them is meant."""
    modules: dict[str, list[str]] = {}
    for module in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(module.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules.setdefault(node.name, []).append(str(module.relative_to(PACKAGE)))
    assert len(modules) > MANY_CLASSES
    assert {name: where for name, where in modules.items() if len(where) > 1} == {}
