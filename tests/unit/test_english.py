"""Conditions are told by *if*, places by *where*: in the documents, and in the docstrings of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from docs.generate import README, ROOT

TITLES = ROOT / "docs" / "promise-tests.md"  # made of the docstrings of tests
DOCUMENTS = [README, *sorted(set((ROOT / "docs").rglob("*.md")) - {TITLES})]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]["per-file-ignores"]
NOT_YET = {ROOT / path for path, rules in RULES.items() if rules == ["D401"]}
MODULES = sorted(set((ROOT / "sftpgate").rglob("*.py")) - NOT_YET)

# What stands before a "where" that tells a condition: "None where there is none", "also where it failed".
CONDITION = re.compile(r"\b(?:None|True|False|empty|refused|[Rr]aises? \w+|only|also|even) where\b")
SENTENCE = re.compile(r"[.:;] Where (?!to )[^.?`|]*, ")  # "… ends. Where nobody waits, …"; a title may begin with it


def told_as_a_place(text: str) -> list[str]:
    """Return the conditions of a text that are told as if they were places."""
    return [
        found[0]
        for paragraph in re.split(r"\n\s*\n", text)
        for rule in (CONDITION, SENTENCE)
        for found in rule.finditer(" ".join(paragraph.split()))
    ]


def docstrings(path: Path) -> list[str]:
    """Return the docstrings of a module, its classes and its functions."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [text for node in nodes if isinstance(node, kinds) and (text := ast.get_docstring(node))]


def test_a_condition_is_seen() -> None:
    """The rules find what they are for, and leave places alone."""
    assert told_as_a_place("Return the id; None where there is none.") == ["None where"]
    assert told_as_a_place("It ends. Where nobody waits, nothing is done.") == [". Where nobody waits, "]
    assert told_as_a_place("The record says where the file is. Where to read on: here, and there.") == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_conditions_of_documents(path: Path) -> None:
    """No condition of a document reads like a place."""
    assert told_as_a_place(re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_conditions_of_docstrings(path: Path) -> None:
    """No condition of a docstring reads like a place."""
    assert [found for text in docstrings(path) for found in told_as_a_place(text)] == []


OF_OTHERS = {"RevokedKeys", "ChannelSftp", "None", "True", "False"}  # sshd_config(5), JSch, Python
NAME = r"([A-Z][a-z]+(?:[A-Z][a-z]+)*)"


def test_named_classes_exist() -> None:
    """A class that a docstring or a document names is one of the code, and has the member that is named with it."""
    code = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "sftpgate").rglob("*.py"))}
    homes: dict[str, str] = {}  # the text of the module that defines a class or type
    for text in code.values():
        homes |= dict.fromkeys(re.findall(rf"^(?:class )?{NAME}(?:\[\w+\])?(?:[:(]| = )", text, re.MULTILINE), text)
    quoted = [
        (name, member, path) for path, text in code.items() for name, member in re.findall(rf"``{NAME}(?:\.(\w+))?``", text)
    ]
    for path in DOCUMENTS:
        quoted += [(*found, path) for found in re.findall(rf"`{NAME}\.(\w+)`", path.read_text(encoding="utf-8"))]
    assert [
        f"{name}.{member} in {path}"
        for name, member, path in quoted
        if name not in OF_OTHERS and (name not in homes or not re.search(rf"\b{member}\b", homes[name]))
    ] == []


MOST_WORDS = 50  # of one sentence; a list says more, and reads more easily


def sentences(text: str) -> list[str]:
    """Return the sentences of a document's prose: no code, no tables, no headings; an item of a list is a paragraph."""
    prose = re.sub(r"(?ms)^```.*?^```|^<!-- \w+:begin.*?:end -->", "", text)
    lines = [line for line in prose.splitlines() if not re.match(r"\s*[|#]|!\[|<!--", line)]
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    return [sentence for it in paragraphs for sentence in re.split(r"(?<=[.!?:])[)*]* (?=[(*`]*[A-Z`])", " ".join(it.split()))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_are_short(path: Path) -> None:
    """No sentence of a document has more than fifty words."""
    assert [it for it in sentences(path.read_text(encoding="utf-8")) if len(it.split()) > MOST_WORDS] == []
