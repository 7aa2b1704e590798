"""Which store, drop and ledger belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sftpgate.policy.identity import Age, FoundIdentity, Mismatch, age, mismatch

WHOLE = FoundIdentity(store="A", drop="A", ledger="A", store_used=True, ledger_used=True)
EARLIER = replace(WHOLE, store=None, drop=None, ledger=None)
NEW = replace(EARLIER, store_used=False, ledger_used=False)


@pytest.mark.parametrize(
    "seen",
    [
        WHOLE,
        NEW,
        replace(EARLIER, kept_expected=3, kept_found=1),
        replace(EARLIER, taken_expected=2),  # a plain program took both while the gate was stopped
        replace(EARLIER, ledger_used=False),  # the ledger is gone
        replace(NEW, store="A", store_used=True),  # a first start was cut off, or the ledger is gone
        replace(NEW, store="A", drop="A", store_used=True),
        replace(NEW, store="A", drop="A", store_used=True, remembered="A"),  # the ledger is gone
        replace(WHOLE, remembered="B"),  # said by the doctor, and no reason to stand still
        replace(EARLIER, taken_expected=2, remembered="A"),
    ],
)
def test_what_belongs_together(seen: FoundIdentity) -> None:
    """A gate starts where all is its own, where nothing is yet, and where an earlier version or a cut-off start left no id."""
    assert mismatch(seen) is None


@pytest.mark.promise("P2", "P4", "P8")
@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (replace(WHOLE, store=None, store_used=False), Mismatch.STORE_MISSING),
        (replace(WHOLE, store=None, drop=None, store_used=False), Mismatch.STORE_MISSING),
        (replace(WHOLE, store=None), Mismatch.STORE_UNMARKED),
        (replace(WHOLE, store="B"), Mismatch.STORE_OTHER),
        (replace(WHOLE, store="B", drop="B"), Mismatch.STORE_OTHER),
        (replace(WHOLE, drop=None), Mismatch.DROP_MISSING),
        (replace(WHOLE, drop="B"), Mismatch.DROP_OTHER),
        (replace(WHOLE, ledger=None, drop="B"), Mismatch.DROP_OTHER),
        (replace(NEW, remembered="A"), Mismatch.ALL_MISSING),
        (replace(NEW, drop="A"), Mismatch.STORE_MISSING),  # the ledger is gone, and the store is not mounted
        (replace(EARLIER, store_used=False), Mismatch.STORE_MISSING),
        (replace(EARLIER, kept_expected=3), Mismatch.STORE_STRANGE),
        (replace(EARLIER, taken_expected=3, is_beside=False), Mismatch.STORE_STRANGE),
        (replace(EARLIER, store="A", drop="A", kept_expected=3), Mismatch.STORE_STRANGE),  # another gate's, with an old ledger
    ],
)
def test_what_does_not(seen: FoundIdentity, expected: Mismatch) -> None:
    """A store or drop that is missing or another one is never taken for one whose files were taken."""
    assert mismatch(seen) is expected


@pytest.mark.parametrize(
    ("ledger", "store", "expected"),
    [
        (0, (), Age.SAME),  # neither was ever sealed
        (4, (4,), Age.SAME),
        (4, (4, 5), Age.SAME),  # cut off before the ledger's commit
        (5, (4, 5), Age.SAME),  # and after it
        (5, (4,), Age.STORE_OLDER),
        (5, (3, 4), Age.STORE_OLDER),
        (1, (), Age.STORE_OLDER),
        (3, (4,), Age.LEDGER_OLDER),
        (0, (1, 2), Age.LEDGER_OLDER),
    ],
)
def test_seals(ledger: int, store: tuple[int, ...], expected: Age) -> None:
    """A seal tells which of two a backup brought back, and a crash while it is set is not taken for that."""
    assert age(ledger, store) is expected
