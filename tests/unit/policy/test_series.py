"""Which file of a pattern is older, by the names alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.series import oldest_first


@pytest.mark.parametrize(
    ("arrived", "processed"),
    [
        (["users-20260102.csv", "users-20260101.csv"], ["users-20260101.csv", "users-20260102.csv"]),
        (["u_2026-10-01.csv", "u_2026-9-30.csv"], ["u_2026-9-30.csv", "u_2026-10-01.csv"]),
        (["u-20260101-0900.csv", "u-20260101-0830.csv"], ["u-20260101-0830.csv", "u-20260101-0900.csv"]),
        (["part-010.csv", "part-009.csv"], ["part-009.csv", "part-010.csv"]),
        # what says nothing leaves the order of arrival
        (["users-41733.csv", "users-1207.csv"], ["users-41733.csv", "users-1207.csv"]),
        (
            ["users-31012026.csv", "users-01022026.csv", "users-b.csv"],
            ["users-31012026.csv", "users-01022026.csv", "users-b.csv"],
        ),
        (["31-01-2026.csv", "01-02-2026.csv"], ["31-01-2026.csv", "01-02-2026.csv"]),
        (["users-b.csv", "users-a.csv"], ["users-b.csv", "users-a.csv"]),
        # series do not mix: the one that came first is processed first
        (["b-02.csv", "x.csv", "b-01.csv"], ["b-01.csv", "b-02.csv", "x.csv"]),
    ],
)
def test_order(arrived: list[str], processed: list[str]) -> None:
    """Dates from the year on and counters with zeros decide, and nothing else does."""
    assert [arrived[number] for number in oldest_first(arrived)] == processed


@pytest.mark.promise("P3")
@given(st.lists(st.text(alphabet="ab-0129.", max_size=12)))
def test_nothing_is_left_out(paths: list[str]) -> None:
    """Whatever the names are, each file is there once."""
    assert sorted(oldest_first(paths)) == list(range(len(paths)))
