"""The faces of the application call its use cases: what changes something stands in ``app``, once, and has an actor."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sftpgate.cli.command_record import Effect, effect_of
from sftpgate.cli.main import app

PACKAGE = Path(__file__).resolve().parents[2] / "sftpgate"
FACES = [face for face in ("cli", "api", "console") if (PACKAGE / face).is_dir()]
NO_USE_CASES = ("sftpgate.app.context", "sftpgate.app.composition", "sftpgate.app.serving")
FOR_SOMEBODY = {"actor", "access"}  # parameters of a use case that says on the record who asked for it
WRITES = {"post", "put", "patch", "delete"}  # how a route of HTTP is declared that changes something

# Rooms in which things are changed. A face that needs one of them has a use case in it that belongs into ``app``.
CHANGING_ROOMS = (
    "sftpgate.users.registry",
    "sftpgate.users.imports",
    "sftpgate.users.host_keys.rotation",
    "sftpgate.handover",
    "sftpgate.uploads",
    "sftpgate.drop",
    "sftpgate.depot.deposits",
    "sftpgate.depot.trees",
    "sftpgate.runners.claims",
    "sftpgate.runners.runner",
    "sftpgate.upkeep",
    "sftpgate.store.disk",
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A module of a face: its functions, and what its names mean that come from elsewhere."""

    functions: Mapping[str, Function]
    imported: Mapping[str, str]


@cache
def module_of(name: str) -> Module:
    """Read a module. Names that several of its functions import are one thing everywhere: a linter sees to that."""
    found = PACKAGE.parent / (name.replace(".", "/") + ".py")
    tree = ast.parse(found.read_text(encoding="utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return Module(functions, imported)


def called(module: str, function: str, face: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Yield the functions outside of the face that a function calls, by itself or by helpers of the face."""
    if (module, function) in seen or function not in module_of(module).functions:
        return
    seen.add((module, function))
    there = module_of(module)
    for node in ast.walk(there.functions[function]):
        names = [node.func] if isinstance(node, ast.Call) else []
        for name in [ast.unparse(each) for each in names]:
            first, _, rest = name.partition(".")
            if first in there.functions and not rest:
                yield from called(module, first, face, seen)
            elif first in there.imported:
                whole = there.imported[first] + (f".{rest}" if rest else "")
                home, _, last = whole.rpartition(".")
                if home.startswith(f"sftpgate.{face}."):
                    yield from called(home, last, face, seen)
                else:
                    yield whole


def use_cases(module: str, function: str, face: str) -> set[str]:
    """Return the use cases that a function of a face calls."""
    found = called(module, function, face, set())
    return {name for name in found if name.startswith("sftpgate.app.") and not name.startswith(NO_USE_CASES)}


def has_actor(name: str) -> bool:
    """Return whether a use case is told who asks."""
    home, _, function = name.rpartition(".")
    found = getattr(import_module(home), function, None)
    return callable(found) and bool(FOR_SOMEBODY & set(inspect.signature(found).parameters))


def commands(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all commands with their names."""
    below: Mapping[str, Any] | None = getattr(tree, "commands", None)
    if below is None:
        yield path, tree
    for name, command in (below or {}).items():
        yield from commands(command, f"{path} {name}".strip())


CHANGING = {name: command for name, command in commands(get_command(app)) if effect_of(command) is Effect.CHANGES}


@pytest.mark.parametrize("name", CHANGING)
def test_a_command_that_changes_something_calls_a_use_case(name: str) -> None:
    """What a command changes, a use case changes for it, in the name of whoever called the command."""
    callback = inspect.unwrap(CHANGING[name].callback)
    found = use_cases(callback.__module__, callback.__name__, "cli")
    assert any(has_actor(use_case) for use_case in found), found


def test_a_route_that_changes_something_calls_a_use_case() -> None:
    """The same of what pages and programs ask for by HTTP."""
    for face in FACES:
        for path in sorted((PACKAGE / face).rglob("*.py")):
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            for name, function in module_of(module).functions.items():
                decorators = [each.func if isinstance(each, ast.Call) else each for each in function.decorator_list]
                if any(isinstance(each, ast.Attribute) and each.attr in WRITES for each in decorators):
                    assert any(has_actor(use_case) for use_case in use_cases(module, name, face)), f"{module}.{name}"


@pytest.mark.parametrize("face", FACES)
def test_a_face_changes_nothing_by_itself(face: str) -> None:
    """No face reaches into the rooms where things are changed; their types may be named."""
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{node.lineno}: {node.module}"
        for path in sorted((PACKAGE / face).rglob("*.py"))
        for node in imports(ast.parse(path.read_text(encoding="utf-8")))
        if f"{node.module}.".startswith(tuple(f"{room}." for room in CHANGING_ROOMS))
    ]
    assert found == []


def imports(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """Yield the imports that are made when a module runs, wherever they stand: not those for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            yield child
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from imports(child)
