"""Another process has the store's lock, and does not give it back: what is refused loses nothing."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sftpgate.errors import StoreBusy
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.store.disk import Disk
from sftpgate.upkeep.verify import verify
from tests.harness.handover import Gate


class Impatient(Disk):
    """Waits for a lock for a moment only."""

    lock_wait_seconds = 0.1


@contextmanager
def lock_of(gate: Gate) -> Iterator[None]:
    """Hold the store's lock, as a process that was stopped does."""
    with open(gate.system.layout.lock.local, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.promise("P1", "P7")
def test_what_is_refused_can_be_tried_again(make_gate: Any) -> None:
    """A CLOSE and a removal that do not get the lock within the bound are refused with the rule; the upload can be
    resumed or sent again, and what was to be removed is still there.
    """
    gate = make_gate(disk=Impatient())
    old = gate.put("old.csv", b"old\n")
    upload = gate.upload("new.csv", b"new\n")
    with lock_of(gate):
        [outcome] = gate.publisher.commit([upload])
        assert isinstance(outcome, StoreBusy)
        gate.system.staging.interrupt(upload)
        with pytest.raises(StoreBusy, match=r"\(rule: a change waits"):
            gate.acts.remove(gate.sender(), "old.csv", ())
    assert gate.system.staging.partial_at("erp", "new.csv") is not None
    assert gate.now(old).state is ArrivalState.WAITING
    assert gate.put("new.csv", b"new\n").state is ArrivalState.WAITING
    assert (gate.read("old.csv"), gate.read("new.csv")) == (b"old\n", b"new\n")
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


def test_a_sweep_says_so_and_goes_on_later(make_gate: Any) -> None:
    """A sweep that does not get the lock says that its steps failed; the next one does them."""
    gate = make_gate(disk=Impatient(), settle_seconds=0)
    (gate.drop / "local.csv").write_bytes(b"local\n")
    with lock_of(gate):
        assert gate.sweeper.run().failed > 0
    assert gate.sweeper.run().failed == 0
    assert gate.read("local.csv") == b"local\n"
