"""Contracts and people against a model of plain lists: whatever comes, is approved, rejected, claimed and waits, in any order."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sftpgate.app import arrivals as decisions
from sftpgate.app import undo as undoing
from sftpgate.errors import Refused
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.approvals import APPROVED_FOR
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.runners.claims import Claim
from sftpgate.upkeep.verify import verify
from tests.crash.machine import Clock
from tests.crash.world import Journal, World

PATH = "agreed.csv"
HEADER = b"uid;name\n"
HELD, WAITING, QUEUED, CLAIMED = ArrivalState.HELD, ArrivalState.WAITING, ArrivalState.QUEUED, ArrivalState.CLAIMED
IN_LINE = (WAITING, QUEUED, CLAIMED)


@dataclass(slots=True)
class Item:
    """What the model knows of an arrival: when it was approved (None: its contract has nothing against it, or nobody did so), and
    whether a tool has run on it.
    """

    arrival: str
    content: bytes
    state: ArrivalState
    approved_at: datetime | None = None
    has_run: bool = False
    is_senders: bool = True


class Approvals(RuleBasedStateMachine):
    """What a contract holds is in no tool's hands but in the two hours after an approval; what it does not hold goes on."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.base = Path(tempfile.mkdtemp(prefix="sftpgate-approvals-", dir=memory if os.access(memory, os.W_OK) else None))
        self.clock = Clock()
        self.world = World(self.base, Journal(contracts=True), self.clock)
        self.items: list[Item] = []
        self.archived: Counter[bytes] = Counter()
        self.processed: list[Item] = []
        self.claim: tuple[Claim, Item] | None = None
        self._count = 0

    def teardown(self) -> None:
        """Nothing is wrong at the end either."""
        self.world.system.journal.flush()
        assert verify(self.world.system.resources, self.world.system.journal, content=True) == []
        self.world.close()
        shutil.rmtree(self.base)

    # -- the model ---------------------------------------------------------------------------------------------------

    def _place(self, item: Item) -> None:
        """Let a file go on: into the store, or behind others."""
        is_occupied = any(other.state in IN_LINE for other in self.items if other is not item)
        item.state = QUEUED if is_occupied else WAITING

    def _advance(self) -> None:
        if not any(item.state in (WAITING, CLAIMED) for item in self.items):
            for item in [item for item in self.items if item.state is QUEUED][:1]:
                item.state = WAITING

    def _end(self) -> None:
        """What is over ends: a file that waits by an approval of more than two hours ago, unless a tool has run on it."""
        for item in self.items:
            if item.state not in (WAITING, QUEUED) or item.approved_at is None or item.has_run:
                continue
            if self.clock.now - item.approved_at >= APPROVED_FOR:
                item.state, item.approved_at = HELD, None
        self._advance()

    def _drop(self, item: Item) -> None:
        self.items.remove(item)
        self._advance()

    # -- what people and programs do -----------------------------------------------------------------------------------

    @rule(is_good=st.booleans(), times=st.integers(1, 2))
    def send(self, is_good: bool, times: int) -> None:
        """A sender's file comes, and is judged."""
        for _ in range(times):
            self._count += 1
            content = (HEADER if is_good else b"") + b"u%d;n\n" % self._count
            item = Item(self.world.publish(PATH, content), content, HELD)
            self.items.append(item)
            self.look()
            if is_good:
                self._place(item)

    @rule()
    def look(self) -> None:
        """The server looks for files to judge, and for approvals that have ended."""
        self.world.judge()
        self._end()

    @rule()
    def sweep(self) -> None:
        """A sweep does the same."""
        self.world.sweep()
        self._end()

    @rule(choice=st.integers(0, 5))
    def approve(self, choice: int) -> None:
        """Somebody approves a file that is held."""
        held = [item for item in self.items if item.state is HELD]
        if held:
            item = held[choice % len(held)]
            self.world.approve(item.arrival, item.content)
            item.approved_at = self.clock.now
            self._place(item)

    @rule(choice=st.integers(0, 5))
    def approve_what_is_not_held(self, choice: int) -> None:
        """Nothing else can be approved, and nothing that a contract holds can be released."""
        if self.items:
            item = self.items[choice % len(self.items)]
            act = decisions.release if item.state is HELD else decisions.approve
            with pytest.raises(Refused):
                if act is decisions.release:
                    decisions.release(self.world.system, command(), item.arrival)
                else:
                    decisions.approve(self.world.system, command(), item.arrival, reason="it is right")

    @rule(choice=st.integers(0, 5))
    def reject(self, choice: int) -> None:
        """Somebody rejects a file that no runner has."""
        free = [item for item in self.items if item.state is not CLAIMED]
        if free:
            item = free[choice % len(free)]
            self.world.reject(item.arrival, item.content)
            self.archived[item.content] += 1
            self._drop(item)

    @rule(minutes=st.sampled_from([11, 50, 130]))
    def wait(self, minutes: int) -> None:
        """Time passes, and nobody looks."""
        self.clock.now += timedelta(minutes=minutes)

    @rule()
    def take(self) -> None:
        """A runner comes, whoever has looked before."""
        claim = self.world.claims.take("agreed")
        if self.claim is not None:
            assert claim is None
            return
        self._end()
        waiting = [item for item in self.items if item.state is WAITING]
        assert (claim is not None) == bool(waiting)
        if claim is not None:
            self.world.held.append(claim)
            [item] = waiting
            assert claim.path.read_bytes() == item.content
            item.state = CLAIMED
            self.claim = (claim, item)

    @rule(outcome=st.sampled_from([RunOutcome.DONE, RunOutcome.RELEASED, RunOutcome.INTERRUPTED]))
    def finish(self, outcome: RunOutcome) -> None:
        """A run ends: done, given back unused, or interrupted."""
        if self.claim is None:
            return
        (claim, item), self.claim = self.claim, None
        self.world.held.remove(claim)
        self.world.claims.end(claim, ClaimEnd(outcome=outcome))
        item.state = WAITING
        item.has_run |= outcome is RunOutcome.INTERRUPTED
        if outcome is RunOutcome.DONE:
            self.archived[item.content] += 1
            self.processed.append(item)
            self._drop(item)

    @rule()
    def withdraw(self) -> None:
        """The sender removes its files; if the newest is held, it sees that one, and earlier good files stay."""
        mine = [item for item in self.items if item.is_senders and item.state is not CLAIMED]
        if mine:
            if mine[-1].state is HELD:
                mine = [item for item in mine if item.state is HELD]
            self.world.remove(PATH)
            self.items = [item for item in self.items if item not in mine]
            self._advance()

    @rule()
    def undo(self) -> None:
        """Somebody undoes the last run: what that needs is held, and what it says is what was processed before."""
        if len(self.processed) < 2 or not all(item.content.startswith(HEADER) for item in self.processed[-2:]):
            return
        last, before = self.processed[-1], self.processed[-2]
        try:
            made = undoing.propose(self.world.system, command(), last.arrival)
        except Refused:
            assert any(not item.is_senders for item in (*self.items, *self.processed))
            return
        assert made.inverse.content == before.content
        self.items.append(Item(made.arrival.id, before.content, HELD, is_senders=False))

    @rule()
    def restart(self) -> None:
        """The server is started again: it knows what it knew."""
        if self.claim is None:
            self.world.close()
            self.world = World(self.base, self.world.journal, self.clock)
            self.world.sweeper.recover()

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def files_are_where_they_belong(self) -> None:
        """Store, queue, holds, claims and archives have what the model has."""
        store = self.base / "data/store"
        waiting = [item.content for item in self.items if item.state is WAITING]
        assert [path.read_bytes() for path in store.glob("*.csv")] == waiting
        for area, state in (("queue", QUEUED), ("held", HELD), ("claims", CLAIMED)):
            here = [path.read_bytes() for path in (store / ".sftpgate" / area).iterdir() if "." not in path.name]
            assert Counter(here) == Counter(item.content for item in self.items if item.state is state), area
        assert Counter(path.read_bytes() for path in (store / "archives").iterdir()) == self.archived


pytestmark = [
    pytest.mark.promise("P1", "P3", "P4"),
    pytest.mark.timeout(300),  # a failure is made as small as it can be before it is shown
]

TestApprovals = Approvals.TestCase
TestApprovals.settings = settings(
    max_examples=20, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
