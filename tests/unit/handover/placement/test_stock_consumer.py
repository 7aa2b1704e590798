"""In front of a stock consumer: no version is lost, none is taken half, none is taken twice (promises P1, P3)."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sftpgate.drop.opening import OpenMode
from sftpgate.errors import AlreadyExists, ConsumerReading
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.store.disk_paths import DiskPath
from sftpgate.uploads.terms import SessionTrace
from tests.harness.handover import Gate
from tests.harness.stock_consumer import StockConsumer

CONTINUE = OpenMode(create=True, truncate=False, exclusive=False, append=False)
VERSIONS = [b"%d\n" % number for number in range(5)]


@pytest.fixture
def gate(make_gate: Callable[..., Gate]) -> Gate:
    """A gate in front of a stock consumer."""
    return make_gate(handover="lock.txt", tools={}, consumer_interval=0)


@pytest.fixture
def consumer(gate: Gate) -> StockConsumer:
    """The consumer that sweeps its store."""
    return StockConsumer(gate.store)


def _drain(gate: Gate, consumer: StockConsumer) -> None:
    for _ in range(50):
        gate.system.placer.queues.bring_up()
        consumer.sweep()


@pytest.mark.promise("P3")
def test_versions_wait_for_each_other(gate: Gate, consumer: StockConsumer) -> None:
    """A later version of a name never replaces an earlier one; the consumer gets all of them, in order."""
    for content in VERSIONS:
        gate.put("x.csv", content)
    assert gate.read("x.csv") == VERSIONS[0]
    _drain(gate, consumer)
    assert consumer.taken == [("x.csv", content) for content in VERSIONS]
    assert gate.archived() == []


@pytest.mark.promise("P1", "P3")
@pytest.mark.parametrize("stop", ["locked", "listed", "copied", "unlinked"])
def test_upload_at_every_step_of_a_pass(gate: Gate, consumer: StockConsumer, stop: str) -> None:
    """Whatever the consumer is at, an upload is acknowledged, kept out of its way, and taken whole later."""
    gate.put("x.csv", b"first\n")
    pass_ = consumer.steps()
    while next(pass_) != stop:
        pass
    assert gate.put("x.csv", b"second\n").state is ArrivalState.QUEUED
    assert gate.put("new.csv", b"new\n").state is ArrivalState.QUEUED
    assert gate.system.placer.queues.bring_up() == 0, "its lock is there"
    list(pass_)
    _drain(gate, consumer)
    assert sorted(consumer.contents) == [b"first\n", b"new\n", b"second\n"]


@pytest.mark.promise("P1")
@pytest.mark.parametrize("temporary", ["x.csv.writing", "x.csv.ea158102491446ca9e56e1dc8ab3b8a5", "x.csv.TMP", "~$x.csv"])
def test_temporary_names(gate: Gate, consumer: StockConsumer, temporary: str) -> None:
    """The consumer gets a file after its rename from a temporary name, once, and never under that name."""
    gate.put(temporary, b"x\n")
    consumer.sweep()
    gate.acts.rename(gate.sender(), temporary, "x.csv", replacing=False, uploads=[])
    _drain(gate, consumer)
    assert consumer.taken == [("x.csv", b"x\n")]


@pytest.mark.promise("P3", "P7")
def test_nothing_that_it_could_be_reading_is_removed(gate: Gate, consumer: StockConsumer) -> None:
    """While the consumer's lock is there, its files are neither removed nor renamed, and the sender is told why."""
    gate.put("x.csv", b"first\n")
    pass_ = consumer.steps()
    next(pass_)
    with pytest.raises(ConsumerReading, match="Try again"):
        gate.acts.remove(gate.sender(), "x.csv", [])
    with pytest.raises(ConsumerReading):
        gate.acts.rename(gate.sender(), "x.csv", "y.csv", replacing=False, uploads=[])
    list(pass_)
    assert consumer.contents == [b"first\n"]


@pytest.mark.promise("P3")
def test_a_name_that_we_freed_is_not_taken_while_it_may_be_unlinked(gate: Gate, consumer: StockConsumer) -> None:
    """The consumer begins in the instant in which a sender removes a file, and unlinks the name afterwards: a new file of
    that name is not what it unlinks.
    """
    gate.put("x.csv", b"first\n")
    content = (gate.store / "x.csv").read_bytes()  # the consumer has opened it …
    gate.acts.remove(gate.sender(), "x.csv", [])  # … after our look at its lock, and before our unlink
    (gate.store / "lock.txt").touch()
    consumer.taken.append(("x.csv", content))
    assert gate.put("x.csv", b"second\n").state is ArrivalState.QUEUED
    (gate.store / "x.csv").unlink(missing_ok=True)
    (gate.store / "lock.txt").unlink()
    _drain(gate, consumer)
    assert consumer.contents == [b"first\n", b"second\n"]


@pytest.mark.promise("P3")
def test_a_name_is_not_taken_in_the_change_that_frees_it(gate: Gate) -> None:
    """The next version of a name that a rename frees waits for a look at the lock that comes after it."""
    first = gate.put("x.csv", b"first\n")
    second = gate.put("x.csv", b"second\n")
    with gate.system.journal.change() as change:
        gate.system.placer.move(change, change.get(first.id), "y.csv", actor=command())
    assert gate.now(second).state is ArrivalState.QUEUED
    assert gate.system.placer.queues.bring_up() == 1
    assert (gate.read("y.csv"), gate.read("x.csv")) == (b"first\n", b"second\n")


@pytest.mark.promise("P3")
def test_a_strangers_file_keeps_its_name(gate: Gate, consumer: StockConsumer) -> None:
    """What another program put into the folder is not replaced and not moved; an upload of its name comes after it."""
    (gate.store / "x.csv").write_bytes(b"local\n")
    assert gate.put("x.csv", b"sent\n").state is ArrivalState.QUEUED
    _drain(gate, consumer)
    assert consumer.contents == [b"local\n", b"sent\n"]
    assert gate.archived() == []


@pytest.mark.promise("P3")
def test_an_upload_without_truncation_is_a_version_of_its_own(gate: Gate, consumer: StockConsumer) -> None:
    """What `scp` sends again over a waiting file is acknowledged while the consumer reads, and taken after it."""
    gate.put("x.csv", b"first\n")
    upload = gate.acts.opening.open(gate.sender(), "x.csv", CONTINUE, SessionTrace(), [])
    upload.write(gate.system.disk, 0, b"again\n")
    pass_ = consumer.steps()
    next(pass_)
    [outcome] = gate.publisher.commit([upload])
    assert not isinstance(outcome, Exception)
    list(pass_)
    _drain(gate, consumer)
    assert consumer.contents == [b"first\n", b"again\n"]


@pytest.mark.promise("P1", "P3")
def test_directories_are_none_of_its_business(gate: Gate) -> None:
    """A file in a subdirectory is replaced and archived as usual: the consumer does not look there."""
    (gate.store / "lock.txt").touch()
    gate.put("sub/x.csv", b"first\n")
    gate.put("sub/x.csv", b"second\n")
    assert gate.read("sub/x.csv") == b"second\n"
    assert gate.archived() == [b"first\n"]


@pytest.mark.promise("P1", "P3")
def test_a_stale_lock_is_passed_over(gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    """A lock that is older than consumer_lock_ttl is warned about and holds nothing any more."""
    (gate.store / "lock.txt").touch()
    assert gate.put("x.csv", b"1\n").state is ArrivalState.QUEUED
    gate.clock.ahead = timedelta(hours=4)
    gate.sweeper.run()
    assert gate.read("x.csv") == b"1\n"
    assert "consumer_lock.stale" in "".join(capsys.readouterr())


@pytest.mark.promise("P3")
def test_versions_come_an_interval_apart(make_gate: Callable[..., Gate]) -> None:
    """The next version of a name comes up an hour after the one before it was taken; other names do not wait for that."""
    gate = make_gate(handover="lock.txt", tools={}, consumer_interval=3600)
    consumer = StockConsumer(gate.store)
    for content in VERSIONS[:3]:
        gate.put("x.csv", content)
    for number, content in enumerate(VERSIONS[:3], start=1):
        consumer.sweep()
        assert consumer.contents[-1] == content
        gate.put(f"new{number}.csv", b"new\n")
        for _ in range(3):
            gate.system.placer.queues.bring_up()
            gate.sweeper.run()
            assert not (gate.store / "x.csv").exists(), "the batch tool may not have executed the one before"
        consumer.sweep()
        gate.clock.ahead += timedelta(minutes=61)
        gate.sweeper.run()
        gate.system.placer.queues.bring_up()
    assert [content for name, content in consumer.taken if name == "x.csv"] == VERSIONS[:3]
    assert len(consumer.taken) == 6


@pytest.mark.promise("P3")
def test_overlapping_captures(make_gate: Callable[..., Gate]) -> None:
    """A capture that unlinks a name after another one has removed the lock takes no version that it did not read."""
    gate = make_gate(handover="lock.txt", tools={}, consumer_interval=60)
    consumer = StockConsumer(gate.store)
    gate.put("x.csv", b"first\n")
    gate.put("x.csv", b"second\n")
    slow = consumer.steps()
    while next(slow) != "copied":
        pass
    quick = StockConsumer(gate.store)
    quick.sweep()  # it copies the same version, unlinks the name, and removes the lock of both
    for _ in range(3):
        gate.system.placer.queues.bring_up()
        gate.sweeper.run()
    with contextlib.suppress(FileNotFoundError):
        list(slow)
    gate.clock.ahead += timedelta(minutes=2)
    gate.sweeper.run()
    gate.system.placer.queues.bring_up()
    assert gate.read("x.csv") == b"second\n"


@pytest.mark.promise("P7")
def test_a_name_that_the_consumer_skips(gate: Gate, consumer: StockConsumer) -> None:
    """A name in which the consumer sees a lock file is held with that reason; under another name the file is taken."""
    held = gate.put("blocks.csv", b"blocks\n")
    assert (held.state, held.hold_reason) == (ArrivalState.HELD, HoldReason.SKIPPED_NAME)
    assert gate.put("sub/blocks.csv", b"not swept\n").state is ArrivalState.WAITING
    gate.acts.rename(gate.sender(), "blocks.csv", "bricks.csv", replacing=False, uploads=[])
    _drain(gate, consumer)
    assert consumer.taken == [("bricks.csv", b"blocks\n")]


@pytest.mark.promise("P1", "P3")
def test_the_lock_is_no_command_file(gate: Gate) -> None:
    """A sender's lock.txt stays in the drop: it must not stop the consumer."""
    assert gate.put("lock.txt", b"").state is ArrivalState.IGNORED
    assert not (gate.store / "lock.txt").exists()


@pytest.mark.promise("P1", "P3")
def test_tools_at_the_top_level_are_refused(make_gate: Callable[..., Gate]) -> None:
    """Two consumers of one file are an error of the settings; a tool in a subdirectory is none."""
    tool: dict[str, Any] = {"command": ["true"]}
    with pytest.raises(ValueError, match="subdirectory"):
        make_gate(handover="lock.txt", tools={"enrols": tool | {"file": "enrols.csv"}})
    make_gate(handover="lock.txt", tools={"enrols": tool | {"file": "sub/enrols.csv"}})


@pytest.mark.promise("P1", "P3")
def test_a_rename_that_never_replaces(gate: Gate) -> None:
    """The disk's rename can be told to leave alone what has the name; the file is then where it was."""
    for name in ("a", "b"):
        (gate.store / name).write_text(name)
    root = gate.store
    with pytest.raises(AlreadyExists):
        gate.system.disk.rename(DiskPath(root, "a"), DiskPath(root, "b"), replacing=False)
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("a", "b")
    gate.system.disk.rename(DiskPath(root, "a"), DiskPath(root, "c"), replacing=False)
    assert sorted(name for name in os.listdir(root) if len(name) == 1) == ["b", "c"]


@pytest.mark.promise("P1", "P3")
def test_a_loop_as_fast_as_it_goes(gate: Gate, consumer: StockConsumer) -> None:
    """A consumer that sweeps without pause beside uploads of one name without pause gets every version, once, whole
    and in order.
    """
    sent = [(b"%d " % number) * 2000 + b"\n" for number in range(150)]
    ended = threading.Event()

    def sweep() -> None:
        while not ended.is_set():
            consumer.sweep()

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for content in sent:
            gate.put("x.csv", content)
            gate.system.placer.queues.bring_up()
    finally:
        ended.set()
        thread.join()
    met = len(consumer.taken)
    for _ in sent:
        gate.system.placer.queues.bring_up()
        consumer.sweep()
    assert consumer.contents == sent
    assert met > 0, "the consumer took nothing while uploads went on"
