"""How long a refusal takes does not tell who has an account."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import asyncssh

from sftpgate.users.passwords import hash_password
from sftpgate.users.registry import UserRegistry
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS

ROUNDS = 40  # at most, with a connection of each kind in turn: on a busy machine it takes more of them until each had a quiet one
TRIES = 4  # passwords in each

KINDS = {
    "nobody": "a user that does not exist",
    "../erp": "a name that no user can have",
    "secret": "a user with another password",
    "other": "a user without a password",
    "gone": "a disabled user with a password",
}


class Guesser(asyncssh.SSHClient):
    """Tries passwords, and notes how long each answer takes."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._asked_at = 0.0

    def password_auth_requested(self) -> str | None:
        """One more, until there were enough."""
        now = perf_counter()
        if self._asked_at:
            self.seconds.append(now - self._asked_at)
        self._asked_at = perf_counter()
        return None if len(self.seconds) == TRIES else f"a wrong password {len(self.seconds)}"


async def guess(gate: Gate, user: str) -> list[float]:
    """The seconds that each refusal of a password took."""
    client = Guesser()
    with suppress(asyncssh.PermissionDenied):
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncssh.connect(
                "127.0.0.1",
                gate.port,
                username=user,
                client_factory=lambda: client,
                client_keys=None,
                known_hosts=None,
                config=None,
                agent_path=None,
                preferred_auth="password",
            )
    assert len(client.seconds) == TRIES
    return client.seconds


async def test_unknown_users_take_as_long_as_known_ones(start: Start, base: Path, gate_keys: Path) -> None:
    """A password is refused after the same time, whether there is such a user, it has no password, or it is disabled."""
    shutil.copytree(gate_keys, base / "keys")
    registry = UserRegistry(base / "keys")
    for user in ("secret", "gone"):
        registry.add(user, password_hash=hash_password("another good password"))
    registry.disable("gone")
    async with start(max_auth_attempts=20, ban_threshold=0) as gate:
        taken: dict[str, list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            for user in KINDS:
                taken[user] += await guess(gate, user)
            if _alike(taken):
                break
        reasons = {line["user"]: line["reason"] for line in gate.log.events("login.refused")}
    assert reasons == dict.fromkeys(KINDS, "unknown user") | {
        "secret": "wrong password",
        "other": "wrong password",
        "gone": "disabled user",
    }
    assert _alike(taken), f"milliseconds: { ({KINDS[user]: round(min(seconds) * 1000, 2) for user, seconds in taken.items()}) }"


def _alike(taken: Mapping[str, Sequence[float]]) -> bool:
    """Whether the quickest answers of each kind take as long. They are what a guesser looks at, and what a busy machine changes
    least; without the hash, one takes less than a fifth of the time.
    """
    quickest = [min(seconds) for seconds in taken.values()]
    return min(quickest) > 0.6 * max(quickest)
