"""The table of managed directories: each entry is whole, and no other place lists them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpgate.app.composition import make_retention
from sftpgate.depot import depot
from sftpgate.errors import NameRefused, PlaceRefused
from sftpgate.ledger.listings import LISTINGS
from sftpgate.policy.access import Zone, locate, require_writable
from sftpgate.policy.accounts import check_home
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.managed import (
    MANAGED,
    MANAGED_AREAS,
    RESERVED_NAMES,
    ManagedDirectory,
    directory_called,
    in_words,
    is_reserved,
)
from sftpgate.policy.names import VirtualPath
from sftpgate.settings.tree import Settings
from tests.harness.handover import Gate

PACKAGE = Path(__file__).resolve().parents[3] / "sftpgate"
MOUNT = VirtualPath("/sync")

# Who may write such a name as text: the area and the kind of things for retention, the ledger's table of reports, and the
# settings, which know no policy.
MAY_SPELL = {"policy/lifecycle.py", "policy/retention.py", "ledger/database/schema.py", "ledger/owners.py", "settings/tree.py"}

each = pytest.mark.parametrize("directory", MANAGED, ids=lambda directory: directory.name)


@each
@pytest.mark.promise("P6")
def test_nobody_writes_there(directory: ManagedDirectory) -> None:
    """A managed directory is read-only for senders and for people of the machine, and nobody else can have its name."""
    name = directory.name
    beside = locate(VirtualPath(f"/{name}/x.csv"), MOUNT)
    assert (beside.zone, beside.inner, beside.managed) == (Zone.MANAGED, "x.csv", directory)
    for path in (f"/{name}", f"/{name}/x", f"/sync/{name}", f"/sync/{name.upper()}/x", f"/sync/{name}. /x"):
        with pytest.raises(PlaceRefused, match="rule:"):
            require_writable(locate(VirtualPath(path), MOUNT), MOUNT)
    with pytest.raises(PlaceRefused, match=f"{name}.* are managed"):
        depot.require_writable(depot.depot_path(f"/{name.title()}/x.csv"))
    with pytest.raises(NameRefused, match="reserved directories"):
        check_home(f"{name}/erp")
    assert is_reserved(name.upper()) and directory_called(name) is directory and directory_called(name.upper()) is None
    assert name in in_words()


@each
def test_each_has_a_place_and_a_listing(directory: ManagedDirectory, gate: Gate) -> None:
    """A managed directory lies at the top of the store under its name, and the ledger can say whose each file in it is."""
    layout, listing = gate.system.layout, LISTINGS[directory.area]
    assert layout.root(directory.area) == gate.store / directory.name
    assert (gate.store / directory.name).is_dir()
    with gate.system.ledger.reading() as connection:
        assert listing.names_of(connection, "erp", after="", limit=10) == []
        assert listing.owner_of(connection, "x.csv") is None


@each
def test_each_is_kept_as_its_settings_say(directory: ManagedDirectory, make_gate: Any) -> None:
    """Two settings of its name say how long, and how much of, a managed directory is kept, and retention looks through it."""
    assert {f"keep_{directory.name}", f"keep_{directory.name}_bytes"} <= set(Settings.model_fields)
    gate = make_gate(**{f"keep_{directory.name}": 60.0, f"keep_{directory.name}_bytes": 1})
    assert list(make_retention(gate.system).plan()) == []


def test_nothing_is_listed_that_is_not_managed() -> None:
    """The listings of the ledger are those of the table, and two directories are two areas and two kinds of things."""
    assert set(LISTINGS) == MANAGED_AREAS
    assert len(MANAGED_AREAS) == len({directory.kept_as for directory in MANAGED}) == len(MANAGED)


def test_no_other_place_lists_them() -> None:
    """No module but the table's own names several managed directories in one list, or spells a name of one."""
    found = [
        f"{module.relative_to(PACKAGE)}:{line}"
        for module in sorted(PACKAGE.rglob("*.py"))
        if module != PACKAGE / "policy" / "managed.py"
        for line in _lists(ast.parse(module.read_text(encoding="utf-8")), str(module.relative_to(PACKAGE)) in MAY_SPELL)
    ]
    assert found == []


def _lists(tree: ast.Module, may_spell: bool) -> Iterator[int]:
    """The lines that list managed directories, or spell one; a field of a row may be called like one."""
    fields = {key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
    for node in ast.walk(tree):
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                if sum(_is_managed(part) for part in parts) > 1:
                    yield node.lineno
            case ast.MatchOr(patterns=patterns):
                if sum(isinstance(part, ast.MatchValue) and _is_managed(part.value) for part in patterns) > 1:
                    yield node.lineno
            case ast.Constant(value=str(text)) if (
                not may_spell and node not in fields and text.partition("/")[0] in RESERVED_NAMES
            ):
                yield node.lineno


def _is_managed(node: ast.expr) -> bool:
    """Whether an expression is the area, or another enumeration's member, of a managed directory."""
    return isinstance(node, ast.Attribute) and node.attr in {Area(area).name for area in MANAGED_AREAS}
