"""How old things on the disk are, for all that somebody may do to the clock (docs/internals.md, "Time").

What was seen of both clocks is kept in the ledger, so that a setting is noticed between two processes too. Looking costs
nothing but the clocks; ``notice`` writes, and is called by the sweeper. A crash loses one look. Any thread.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from sftpgate.ids import Clock, Uptime
from sftpgate.ledger.database.connection import Ledger, get_fact, set_fact
from sftpgate.logs import get_logger
from sftpgate.policy.clocks import Anchor, Reading

log = get_logger("clock")

_FACT = "clock"


def this_boot() -> str:
    """Return the id of the machine's present boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


class Timekeeper:
    """One per process; the ledger has its tables by then."""

    def __init__(self, ledger: Ledger, clock: Clock, uptime: Uptime) -> None:
        self._ledger = ledger
        self._clock = clock
        self._uptime = uptime
        self._boot = this_boot()
        with ledger.reading() as connection:
            self._anchor = _loaded(get_fact(connection, _FACT))

    def read(self) -> Reading:
        """Return both clocks."""
        return Reading(self._clock().timestamp(), self._uptime(), self._boot)

    def age(self, changed: float) -> float:
        """Return for how many seconds something has been as it is that changed at ``changed``, as far as the clock can be
        believed.
        """
        now = self.read()
        return max(0.0, min(now.wall - changed, self.steady_seconds(now)))

    def steady_seconds(self, now: Reading | None = None) -> float:
        """Return for how long the clock has not been set."""
        now = now or self.read()
        if self._anchor is None:
            return math.inf
        self._anchor = self._anchor.looked(now)
        return self._anchor.steady_seconds(now)

    def notice(self) -> None:
        """Take down what both clocks say, and say if one was set. Blocks."""
        now = self.read()
        with self._ledger.transaction() as connection:
            before = _loaded(get_fact(connection, _FACT))
            after = before.looked(now) if before is not None else Anchor(now)
            set_fact(connection, _FACT, _written(after))
        self._anchor = after
        if before is not None and after.set_wall is not None and after.set_wall != before.set_wall:
            log.warning("clock.set", reason="the clock was set: nothing counts as older than the time since then")


def _written(anchor: Anchor) -> str:
    last = anchor.last
    return json.dumps([last.wall, last.uptime, last.boot, anchor.set_wall, anchor.set_uptime])


def _loaded(fact: str | None) -> Anchor | None:
    if fact is None:
        return None
    wall, uptime, boot, set_wall, set_uptime = json.loads(fact)
    return Anchor(Reading(wall, uptime, boot), set_wall, set_uptime)
