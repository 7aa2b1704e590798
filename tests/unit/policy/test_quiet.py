"""What a file in drop or store is to us."""

from __future__ import annotations

import itertools

from sftpgate.policy.quiet import LocalStanding, standing


def test_the_first_reason_holds() -> None:
    """A file is free only if nothing speaks against it; otherwise the reason that is cheapest to find is the answer."""
    for known, quiet, linked, restored in itertools.product((False, True), repeat=4):
        found = standing(is_known=known, is_quiet=quiet, is_linked=linked, is_restored=restored)
        reasons = [
            reason
            for reason, holds in (
                (LocalStanding.KNOWN, known),
                (LocalStanding.UNQUIET, not quiet),
                (LocalStanding.LINKED, linked),
                (LocalStanding.RESTORED, restored),
            )
            if holds
        ]
        assert found is (reasons[0] if reasons else LocalStanding.FREE)
