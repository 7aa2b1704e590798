"""docs/architecture.md and the other documents name the rooms that the code has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from docs.generate import README, ROOT

DOCUMENT = ROOT / "docs" / "architecture.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
ROW = re.compile(r"^\| (\d+) \| `(\w+)` \|", re.MULTILINE)


def layers() -> list[set[str]]:
    """Return the floors of the linter, from the ground up."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [contract] = [it for it in pyproject["tool"]["importlinter"]["contracts"] if it["type"] == "layers"]
    return [{name.strip() for name in layer.split("|")} for layer in reversed(contract["layers"])]


def test_the_floors_are_the_linters() -> None:
    """The page has the floors that the linter holds: each room on its floor, and no other."""
    told: dict[int, set[str]] = {}
    for floor, room in ROW.findall(DOCUMENT.read_text(encoding="utf-8")):
        told.setdefault(int(floor), set()).add(room)
    assert told == dict(enumerate(layers(), 1))


def test_every_package_is_named() -> None:
    """No package or module at the top of the code is left out of the page."""
    text = DOCUMENT.read_text(encoding="utf-8")
    there = {path.stem for path in (ROOT / "sftpgate").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert [name for name in sorted(there - {"__init__", "__main__"}) if f"`{name}`" not in text] == []


def test_the_page_fits_on_a_page() -> None:
    """The architecture is told on one page."""
    assert len(DOCUMENT.read_text(encoding="utf-8").splitlines()) <= 114


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path: Path) -> None:
    """A path of our code or tests that a document names is there, and so is what it links to."""
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:sftpgate|tests|docs)/[\w/.-]+\.\w+)`", text))
    rooms = "|".join(sorted(set().union(*layers())))
    named |= {f"sftpgate/{name}" for name in re.findall(rf"`((?:{rooms})/[\w/]+(?:\.py)?)`", text)}
    files = [f"/{file.relative_to(ROOT)}" for top in ("sftpgate", "tests", "docs") for file in (ROOT / top).rglob("*.py")]
    assert [name for name in re.findall(r"`([\w/]+\.py)`", text) if not any(file.endswith(f"/{name}") for file in files)] == []
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    assert [name for name in sorted(named) if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()] == []
    assert [link for link in sorted(links) if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors_exist(path: Path) -> None:
    """A link to a heading leads to a heading."""
    for link in re.findall(r"\]\(([^)\s]*#[^)\s]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = path.parent / file if file else path
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, link


def test_who_knows_the_settings() -> None:
    """The whole tree of settings is known above, and below by those that the page names."""
    above = {"cli", "api", "console", "monitor", "scripts", "web", "app", "settings"}
    text = DOCUMENT.read_text(encoding="utf-8")
    for path in sorted((ROOT / "sftpgate").rglob("*.py")):
        place = path.relative_to(ROOT / "sftpgate")
        if place.parts[0].removesuffix(".py") not in above and re.search(
            r"^\s*from sftpgate.settings.tree import .*\bSettings\b", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert f"`{place.with_suffix('')}`" in text or f"`{place}`" in text, place
