"""The follower of expected files, killed before and after each of its commits: what is said is said, and exactly once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.upkeep.expectations import Expectations
from tests.harness.expectations import Desk, paris, terms

START = paris("2026-05-31 12:00")


class Killed(BaseException):
    """The process ends here. Not an Exception: no code of the product may take it for an error."""


class Dying(Ledger):
    """A ledger whose process can be killed right before, or right after, one of its commits."""

    commits = 0
    dies_at: int | None = None
    is_after = False
    is_armed = False

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection that commits at the end of the block, unless the process ends before."""
        with super().transaction() as connection:
            yield connection
        if self.is_armed and self.is_after and self.commits == self.dies_at:
            raise Killed

    def step(self, operation: str) -> None:
        """Count the commit that comes now."""
        if self.is_armed:
            self.commits += 1
            if not self.is_after and self.commits == self.dies_at:
                raise Killed


class Mortal(Desk):
    """A desk whose follower can be killed; another one goes on then, as the supervisor starts it."""

    ledger: Dying

    def run(self, follower: Expectations) -> None:
        """Let the follower do all that is due, and another one, in a new process, if this one is killed."""
        self.ledger.is_armed = True
        try:
            super().run(follower)
        except Killed:
            self.ledger.dies_at = None
            self.follower = self.another()
            super().run(self.follower)
        finally:
            self.ledger.is_armed = False


def story(ledger: Dying) -> list[str]:
    """What is said in two days on which all happens: a warning, late, held, well again, not taken, missing, the next day."""
    ledger.create()
    desk = Mortal(ledger, [terms(), terms("users", path="users.csv")], START)
    for time in ("05:00", "05:38", "05:48"):
        desk.look(paris(f"2026-06-01 {time}"))
    desk.happen(paris("2026-06-01 05:50"), "received", "held", reason="not as agreed", sha256="1")
    desk.look(paris("2026-06-01 05:53"))
    desk.come(paris("2026-06-01 06:00"), "2", arrival="A2")
    for time in ("06:05", "08:10", "10:00"):
        desk.look(paris(f"2026-06-01 {time}"))
    desk.happen(paris("2026-06-01 10:01"), "claimed", "claimed", arrival="A2")
    desk.come(paris("2026-06-02 05:01"), "2", arrival="A3")
    desk.come(paris("2026-06-02 05:01"), "3", arrival="A4", path="users.csv")
    for time in ("05:20", "12:00"):
        desk.look(paris(f"2026-06-02 {time}"))
    return desk.said()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], int]:
    """What is said if nobody dies, and in how many commits."""
    ledger = Dying(f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'ledger.db'}", durable=False)
    said = story(ledger)
    ledger.close()
    return said, ledger.commits


@pytest.mark.promise("P8")
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_each_change_is_said_exactly_once(tmp_path: Path, undisturbed: tuple[list[str], int], is_after: bool) -> None:
    """Wherever the follower is killed, the record has in the end what it has if nobody dies."""
    wanted, commits = undisturbed
    assert len(wanted) > 12 and commits > 15
    for number in range(1, commits + 1):
        ledger = Dying(f"sqlite:///{tmp_path / f'{number}.db'}", durable=False)
        ledger.dies_at, ledger.is_after = number, is_after
        assert story(ledger) == wanted, f"killed {'after' if is_after else 'before'} commit {number}"
        ledger.close()
