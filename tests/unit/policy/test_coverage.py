"""Which bytes of a file were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.coverage import Coverage


@pytest.mark.promise("P1")
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12), st.integers(0, 60))
def test_coverage_is_a_set_of_bytes(writes: list[tuple[int, int]], cut: int) -> None:
    """The ranges of an upload say exactly which bytes were written."""
    coverage, model = Coverage(), set[int]()
    for start, length in writes:
        coverage.add(start, start + length)
        model |= set(range(start, start + length))
    coverage.truncate(cut)
    model = {byte for byte in model if byte < cut}
    size = max(model, default=-1) + 1
    missing = [byte for byte in range(size) if byte not in model]
    gap = coverage.first_gap(size)
    assert (gap[0] if gap else None) == (missing[0] if missing else None)
