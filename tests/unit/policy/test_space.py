"""When there is too little room, and for what."""

from __future__ import annotations

import pytest

from sftpgate.policy.space import LEAST_BYTES, Room, shortages

PLENTY = Room(bytes=10**9, files=10**6)


@pytest.mark.parametrize(
    ("places", "floor", "said"),
    [
        ({"store": PLENTY, "drop": PLENTY}, 10**8, []),
        ({"store": Room(bytes=10**7)}, 10**8, ["free_space_floor"]),
        ({"store": Room(bytes=0)}, 0, ["disk of the store is full"]),
        ({"store": PLENTY, "ledger": Room(bytes=LEAST_BYTES - 1)}, 10**8, ["disk of the ledger is full"]),
        ({"store": PLENTY, "ledger": Room(bytes=LEAST_BYTES)}, 10**8, []),
        ({"store": Room(bytes=10**9, files=0)}, 10**8, ["no more files"]),
        ({"store": None}, 10**8, []),
    ],
)
def test_shortages(places: dict[str, Room | None], floor: int, said: list[str]) -> None:
    """A place without room is named, whatever the floor is; that of the store has the floor's name."""
    found = list(shortages(places, floor))
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))
