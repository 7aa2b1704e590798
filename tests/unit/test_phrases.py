"""What senders read exists in every language, and nothing they read goes past the table of phrases."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.policy import phrases
from sftpgate.policy.phrases import Sentence, in_language, phrase, recognised, sentence
from sftpgate.settings.choices import Language

PACKAGE = Path(__file__).resolve().parents[2] / "sftpgate"
SAYING = {"phrase", "sentence", "say", "_say"}
PASSING_ON = {"_say", "in_language"}  # what is said there was said elsewhere
# What writes reports: a text of several words in these is a phrase, or is for the log, an error or a document.
WRITERS = ["runners/reports.py", "runners/claim_ends.py", "upkeep/notices.py", "policy/evidence.py"]
FRENCH = phrases._LANGUAGES["fr"]


def name_of(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def said_in(function: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """What a function says to senders, with its lines; a variable stands for all that the function assigns to it."""
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and name_of(call) in SAYING and call.args:
            match call.args[0]:
                case ast.Name(id=name):
                    for node in ast.walk(function):
                        if isinstance(node, ast.Assign) and name in [getattr(each, "id", "") for each in node.targets]:
                            yield node.lineno, node.value
                case argument:
                    yield call.lineno, argument


def texts() -> Iterator[tuple[str, str]]:
    """Every text that is said in a module that has phrases, with its place."""
    for module in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == phrases.__name__]
        if module.stem != "phrases" and not SAYING & {alias.name for node in imported for alias in node.names}:
            continue
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in PASSING_ON
        ]
        constants = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        for line, value in (found for node in [*functions, *constants] for found in said_in(node)):
            place = f"{module.relative_to(PACKAGE)}:{line}"
            assert isinstance(value, ast.Constant), f"{place}: what is said is to be a literal"
            yield place, str(value.value)


def fields(text: str) -> set[str]:
    """The names of the values in a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_phrase_exists_in_french() -> None:
    """Whatever the code says to a sender is in the table, and the table has nothing that nobody says."""
    said = {text: place for place, text in texts()}
    assert {text: place for text, place in said.items() if text not in FRENCH} == {}
    assert set(FRENCH) - set(said) == set()


@pytest.mark.parametrize("text", FRENCH)
def test_both_languages_say_the_same_values(text: str) -> None:
    """A translation has the values of the English text, and is another text, unless it is a name."""
    if "{" in text and '{"' not in text:
        assert fields(text) == fields(FRENCH[text])
    assert FRENCH[text] != text or text == "SHA-256"


def test_nothing_goes_past_the_table() -> None:
    """In the modules that write reports, a text of several words is said in a language, or is for the log, an error or a reader
    of the code.
    """
    found = []
    for name in WRITERS:
        tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
        allowed: set[int] = set()
        for node in ast.walk(tree):
            is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_said = isinstance(node, ast.Call) and (name_of(node) in SAYING or ast.unparse(node.func).startswith("log."))
            is_text = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "text"  # which ``texts`` follows
            if is_doc or is_said or is_text or isinstance(node, (ast.Raise, ast.Assert)):
                allowed |= {id(inner) for inner in ast.walk(node)}
        found += [
            f"{name}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in allowed
            if len(node.value.split()) > 1
        ]
    assert found == []


def test_a_sentence_is_english_for_the_record() -> None:
    """The ledger and the log have a sentence in English; a reader gets it in its language, with sentences inside it."""
    inner = sentence("its client declared {declared} bytes, and {size} came", declared=5, size=3)
    outer = sentence("The upload looks interrupted: {doubt}.", doubt=inner)
    assert str(outer) == "The upload looks interrupted: its client declared 5 bytes, and 3 came."
    assert in_language(outer, Language.ENGLISH) == str(outer)
    assert in_language(outer, Language.FRENCH) == (
        "Le dépôt semble interrompu : son client a déclaré 5 octets, et 3 sont arrivés."
    )


def test_words_of_others_stay_as_they_are() -> None:
    """What a tool prints is not translated, also if it is a word of ours or has braces."""
    assert in_language("failed", Language.FRENCH) == "failed"
    assert in_language("{pid}", Language.FRENCH) == "{pid}"
    assert phrase("failed", Language.FRENCH) == "échec"


def test_a_recorded_sentence_is_recognised() -> None:
    """What the ledger has in English is found again with its values, whatever these are; other text stays as it is."""
    for text in (text for text in FRENCH if len(text.split()) > 4):
        names = fields(text) if '{"' not in text else set()
        said = sentence(text, **dict.fromkeys(names, "x{y}"))
        again = recognised(str(said))
        assert isinstance(again, Sentence)
        assert in_language(again, Language.FRENCH) == in_language(said, Language.FRENCH)
    assert recognised("something of an earlier version") == "something of an earlier version"
