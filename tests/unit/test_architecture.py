"""Rules of the code that the linters cannot see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from sftpgate.errors import StorageError, only_error

PACKAGE = Path(__file__).resolve().parents[2] / "sftpgate"
MOVES = {"rename", "hardlink_to", "symlink_to", "link_to"}


def _moves(tree: ast.AST) -> Iterator[int]:
    """The lines that call a method which moves or links a file. ``Path.replace`` takes one argument, ``str.replace`` two."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            one_positional = len(node.args) == 1 and not node.keywords
            if (node.func.attr in MOVES and not _is_our_own(node.func)) or (node.func.attr == "replace" and one_positional):
                yield node.lineno


def _is_our_own(call: ast.Attribute) -> bool:
    """Whether the method is one of our own objects (``self.disk.rename``), and not of a Path called ``path``."""
    receiver = ast.unparse(call.value)
    return not receiver.lower().endswith(("path", "file", "target", "source", "spot.local"))


def test_only_the_disk_module_moves_files() -> None:
    """No module but store/disk.py calls a Path's rename, replace or link methods (ruff bans the functions of os and shutil)."""
    found = [
        f"{module.relative_to(PACKAGE.parent)}:{line}"
        for module in sorted(PACKAGE.rglob("*.py"))
        if module != PACKAGE / "store" / "disk.py"
        for line in _moves(ast.parse(module.read_text(encoding="utf-8")))
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
