"""Stamped names of archives and reports."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.stamps import archive_names, report_names, tryback_names

AT = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - a local time of the server, as archive names have it


def test_stamped_names() -> None:
    """Archives, reports and rejected lines have the names that scripts look for, and never the same one twice."""
    assert list(islice(archive_names("enrols.csv", AT), 2)) == ["20260102-0304_enrols.csv", "20260102-0304_enrols-2.csv"]
    assert next(iter(report_names("enrols.csv", AT))) == "20260102-0304_report_enrols.csv"
    assert next(iter(tryback_names("enrols.csv", AT))) == "enrols_tryback_20260102-0304.csv"


@pytest.mark.promise("P3")
@given(st.integers(0, 3000))
def test_free_name_behind_the_taken_ones(number: int) -> None:
    """Where the first names are taken, the next one is found, and few questions are asked for it."""
    names = archive_names("enrols.csv", AT)
    taken = {names.numbered(each) for each in range(1, number + 1)}
    asked: list[str] = []

    def is_free(name: str) -> bool:
        asked.append(name)
        return name not in taken

    assert names.first_free(is_free) == number + 1
    assert len(asked) <= 26


@pytest.mark.promise("P3")
@given(st.sets(st.integers(1, 40)))
def test_free_name_among_gaps(numbers: set[int]) -> None:
    """Whatever is taken, the name that is found is not."""
    names = archive_names("enrols.csv", AT)
    taken = {names.numbered(each) for each in numbers}
    assert names.numbered(names.first_free(lambda name: name not in taken)) not in taken


@pytest.mark.promise("P3")
@given(st.text(alphabet="aé.-", min_size=1, max_size=255))
def test_stamped_names_fit_the_disk(name: str) -> None:
    """A long name is cut where it must be, and numbered names stay different."""
    found = list(islice(archive_names(name, AT), 12))
    assert len(set(found)) == len(found)
    assert all(len(candidate.encode()) <= 255 for candidate in found)
