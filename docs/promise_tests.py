"""Makes docs/promise-tests.md: the tests that guard each promise, as their markers say (``@pytest.mark.promise("P1")``).

Reads the source of the tests, and imports none of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "promise-tests.md"
PROMISES = ROOT / "docs" / "promises.md"

HEAD = """\
# Tests of each promise

Made by `make docs` from the markers of the tests: `@pytest.mark.promise("P1")`.
[promises.md](promises.md) says what each promise is.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseTest:
    """A test, the promises that it guards, and the first sentence of its docstring."""

    file: Path
    file_title: str
    name: str
    title: str
    promises: tuple[str, ...]


def promises() -> dict[str, str]:
    """Read the names of the promises and their titles, in order."""
    text = PROMISES.read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (P\d+) \| \*\*(.+?)\.?\*\*", text, re.MULTILINE))


@cache
def marked_tests() -> tuple[PromiseTest, ...]:
    """Find the tests with a marker, in the order of their files and lines."""
    return tuple(_marked_tests())


def _marked_tests() -> Iterator[PromiseTest]:
    for file in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        of_module = _of_module(tree)
        for name, node in _tests(tree):
            named = dict.fromkeys([*of_module, *_named(node.decorator_list)])
            if named:
                yield PromiseTest(
                    file=file.relative_to(ROOT),
                    file_title=_title(tree),
                    name=name,
                    title=_title(node),
                    promises=tuple(named),
                )


def _tests(tree: ast.Module) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Yield each test function, and the state machine behind each ``TestX = X.TestCase``."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test"):
                yield node.name, node
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(value=ast.Name(id=machine), attr="TestCase")):
                yield name, classes[machine]
            case _:
                pass


def _of_module(tree: ast.Module) -> list[str]:
    """Read the promises of a module's ``pytestmark``: all of its tests guard them."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=ast.List(elts=marks)):
                return _named(marks)
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=mark):
                return _named([mark])
            case _:
                pass
    return []


def _named(marks: list[ast.expr]) -> list[str]:
    """Read the names in the ``pytest.mark.promise`` among these."""
    calls = [mark for mark in marks if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise"]
    return [str(ast.literal_eval(argument)) for call in calls for argument in call.args]


def _title(node: Function | ast.ClassDef | ast.Module) -> str:
    """Return the first paragraph of a docstring, in one line that can stand in a table."""
    paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", r"\|")


def generated() -> str:
    """Return what docs/promise-tests.md should be."""
    sections = [HEAD]
    for promise, title in promises().items():
        rows = ["| test | what it shows |", "|---|---|"]
        file = None
        for test in (test for test in marked_tests() if promise in test.promises):
            if test.file != file:
                file = test.file
                rows.append(f"| **[{file.relative_to('tests')}](../{file})** | {test.file_title} |")
            rows.append(f"| `{test.name}` | {test.title} |")
        sections.append(f"## {promise} {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)
