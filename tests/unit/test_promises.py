"""Each promise has tests that say so by a marker, and docs/promise-tests.md lists them."""

from __future__ import annotations

import re

import pytest

from docs import promise_tests
from docs.promise_tests import PAGE, TESTS, generated, marked_tests


def test_the_page_of_promises_lists_their_tests() -> None:
    """docs/promise-tests.md is what the markers of the tests give; ``make docs`` writes it."""
    assert PAGE.read_text(encoding="utf-8") == generated(), "run: make docs"


@pytest.mark.parametrize("promise", [f"P{number}" for number in range(1, 9)])
def test_each_promise_has_tests(promise: str) -> None:
    """A promise of docs/promises.md has tests in at least two modules, which look at it from more than one side."""
    assert promise in promise_tests.promises()
    assert len({test.file for test in marked_tests() if promise in test.promises}) > 1


def test_markers_name_promises() -> None:
    """A marker names promises that there are, and a marked test has a sentence that says what it shows."""
    known = promise_tests.promises().keys()
    assert [test for test in marked_tests() if not known >= set(test.promises) or not test.title] == []


def test_no_docstring_names_a_promise_in_the_place_of_a_marker() -> None:
    """Promises stand in markers, where pytest and the page find them."""
    beginning = re.compile(r'^ *"""P\d[^:"]{0,20}:', re.MULTILINE)
    assert [file for file in TESTS.rglob("*.py") if beginning.search(file.read_text(encoding="utf-8"))] == []
