"""A local program that may write into the drop makes links there, or exchanges names while the server works on them: nothing
outside is read, written or changed.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count, cycle
from pathlib import Path
from typing import Any

import pytest

from sftpgate.errors import CrossDevice, SftpgateError
from sftpgate.gateway.sftp.wire import Reply, Request
from sftpgate.runners.candidates import Candidates
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from tests.harness.gates import Gate, Start
from tests.harness.handover import Gate as Handover
from tests.harness.raw import RESUME
from tests.protocol.operations import EVERY

SECRET = b"the secret of another program\n"
SAME_LENGTH = b"what the local program writes\n"
NAME = "swap.csv"
ROUNDS = 4  # each operation on each path: a second or two of races
SWEEPS = 150  # or more, until one of them took something


@pytest.fixture
def secret(base: Path) -> Path:
    """A directory that is none of ours, with a file that nobody else may read."""
    directory = base / "secret"
    directory.mkdir()
    for name in ("file", "x"):
        (directory / name).write_bytes(SECRET)
        (directory / name).chmod(0o600)
        os.utime(directory / name, (1, 1))
    return directory


def unchanged(secret: Path) -> bool:
    """Whether it is as it was made."""
    found = {path.name: (path.read_bytes(), path.stat()) for path in secret.iterdir()}
    return found.keys() == {"file", "x"} and all(
        (content, stat.S_IMODE(status.st_mode), status.st_mtime) == (SECRET, 0o600, 1.0) for content, status in found.values()
    )


def leaked(top: Path) -> list[str]:
    """What lies below ``top`` that is a link, or has the content of the secret."""
    files = [path for path in top.rglob("*") if path.is_symlink() or path.is_file()]
    return [str(path) for path in files if path.is_symlink() or SECRET in path.read_bytes()]


def with_names_elsewhere(top: Path) -> list[str]:
    """Which files below ``top`` have a name elsewhere, too, by which somebody could change them."""
    found = [(path, path.lstat()) for path in top.rglob("*")]
    files = [(path, status) for path, status in found if stat.S_ISREG(status.st_mode)]
    names = Counter((status.st_dev, status.st_ino) for _, status in files)
    return [str(path) for path, status in files if status.st_nlink != names[status.st_dev, status.st_ino]]


@contextmanager
def handing_over(*arguments: Any, **settings: Any) -> Iterator[Handover]:
    """The hand-over without a network, closed at the end."""
    made = Handover(*arguments, **settings)
    try:
        yield made
    finally:
        made.system.close()


# -- hard links ------------------------------------------------------------------------------------------------------


async def test_a_hard_link_in_the_drop_is_not_taken(start: Start, secret: Path) -> None:
    """A file of elsewhere that is linked into the drop keeps its mode, its owner and its content; the log says what to do."""
    async with start(sweep_interval=0.05, settle_seconds=0) as gate:
        os.link(secret / "file", gate.drop / "key.csv")
        [said, *_] = await gate.said("sweep.refused")
        assert said["path"] == "key.csv" and "hard links" in said["reason"] and "put a copy of it here" in said["reason"]
        assert unchanged(secret) and gate.in_store() == {} and gate.arrivals("key.csv") == []


async def test_a_file_is_taken_when_its_other_name_is_gone(start: Start, base: Path) -> None:
    """A program that links a finished file into the drop and then removes its first name is served."""
    async with start(sweep_interval=0.05, settle_seconds=0) as gate:
        (base / "made").write_bytes(b"a,1\n")
        os.link(base / "made", gate.drop / "a.csv")
        await gate.until("sweep.refused")
        (base / "made").unlink()
        await gate.until("sweep.took")
        assert gate.in_store() == {"a.csv": b"a,1\n"}


async def test_a_hard_link_in_the_drop_is_not_shown(gate: Gate, secret: Path) -> None:
    """No operation of a sender reads, changes or shows a file of elsewhere; a file of its own can have the name."""
    os.link(secret / "file", gate.drop / "key.csv")
    async with gate.raw() as raw:
        await raw.put("own.csv", b"own\n")
        assert await raw.listing(".") == ["own.csv"]
        for operation, request in EVERY.items():
            answer = await request(raw, "key.csv")
            assert SECRET not in answer.body and answer.kind not in (Reply.ATTRS, Reply.NAME), operation
            if answer.kind == Reply.HANDLE:
                await raw.write(answer.handle, 0, b"changed\n")
                await raw.close(answer.handle)
            assert unchanged(secret), operation
        assert leaked(gate.store) == []


async def test_a_held_file_that_became_a_hard_link(gate: Gate, secret: Path) -> None:
    """A link in the place of a sender's own file in the drop is not read, changed, released or archived in its stead."""
    (gate.drop / "alock.txt").write_bytes(b"")
    async with gate.raw() as raw:
        await raw.put("held.csv", SAME_LENGTH)
        (gate.drop / "held.csv").unlink()
        os.link(secret / "file", gate.drop / "held.csv")
        for answer in (await EVERY["open for reading"](raw, "held.csv"), await raw.try_open("held.csv", RESUME)):
            assert answer.kind == Reply.STATUS and "hard links" in answer.message
        await raw.setstat("held.csv", atime=9, mtime=9)
        await raw.setstat("held.csv", size=3)
        await raw.put("held.csv", b"newer\n")
        await raw.on(Request.REMOVE, "alock.txt")
    assert unchanged(secret) and leaked(gate.store) == []


def test_a_tool_is_not_given_a_hard_link(handover: Handover, secret: Path) -> None:
    """A file in the store that has another name could change under the tool: it is left, and taken when that name is gone."""
    system = handover.system
    candidates = Candidates(system.resources, system.placer.rules.names, system.placer.rules.pointers, settle_seconds=0)
    os.link(secret / "file", handover.store / "q.csv")
    assert candidates.unknown_files("queue") == [] == candidates.drafts("queue")
    (secret / "file").unlink()
    assert candidates.unknown_files("queue") == ["q.csv"] == [draft.path for draft in candidates.drafts("queue")]


# -- races -----------------------------------------------------------------------------------------------------------


def own(path: Path, _secret: Path) -> None:
    """A file of the local program itself that looks like the secret: of the same size and time."""
    path.write_bytes(SAME_LENGTH)
    os.utime(path, (1, 1))


MAKERS: dict[str, Callable[[Path, Path], Any]] = {
    "symbolic link": lambda path, secret: path.symlink_to(secret / "file"),
    "hard link": lambda path, secret: os.link(secret / "file", path),
    "directory": lambda path, _: path.mkdir(),
    "link to a directory": lambda path, secret: path.symlink_to(secret),
}


class ExchangingDisk(Disk):
    """A disk on which somebody exchanges a file of the drop at the very moment before it is moved, once."""

    def __init__(self, operation: str, place: Path, make: Callable[[Path], Any]) -> None:
        self._operation, self._place, self._make = operation, place, make
        self.done = False

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Before each operation."""
        if (
            operation == self._operation
            and isinstance(disk_paths[0], DiskPath)
            and disk_paths[0].local == self._place
            and not self.done
        ):
            self.done = True
            self._place.rename(self._place.with_name("_aside"))
            self._make(self._place)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", MAKERS)
def test_exchanged_at_the_last_moment(base: Path, secret: Path, kind: str) -> None:
    """What takes the place of a file between the look at it and the rename is put back, and does not stay in the store."""
    place = base / "data/sync" / NAME
    disk = ExchangingDisk("rename", place, lambda path: MAKERS[kind](path, secret))
    with handing_over(base / "data", disk, settle_seconds=0) as handover:
        own(place, secret)
        result = handover.sweeper.run()
        assert disk.done and result is not None and result.failed == 1
        assert not (handover.store / NAME).exists() and not (handover.store / NAME).is_symlink()
        assert (place.is_symlink(), place.is_dir()) == ("link" in kind and kind != "hard link", "directory" in kind)
        assert unchanged(secret) and leaked(handover.store) == []
        place.rmdir() if kind == "directory" else place.unlink()
        own(place, secret)
        handover.sweeper.run()
        assert handover.read(NAME) == SAME_LENGTH


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", MAKERS)
def test_exchanged_twice(base: Path, secret: Path, kind: str) -> None:
    """What took the place of a file does not stay in the store, not even where its name in the drop is taken again."""
    place = base / "data/sync" / NAME

    class Twice(ExchangingDisk):
        """Somebody has the name again before it is put back."""

        def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
            super().step(operation, *disk_paths)
            if (
                operation == "rename"
                and isinstance(disk_paths[1], DiskPath)
                and disk_paths[1].local == place
                and not place.exists()
            ):
                own(place, secret)

    with handing_over(
        base / "data", Twice("rename", place, lambda path: MAKERS[kind](path, secret)), settle_seconds=0
    ) as handover:
        own(place, secret)
        handover.sweeper.run()
        assert not (handover.store / NAME).exists() and not (handover.store / NAME).is_symlink()
        [aside] = handover.drop.glob(".sftpgate-exchanged-*")
        assert (aside.is_symlink(), aside.is_dir()) == ("link" in kind and kind != "hard link", "directory" in kind)
        assert unchanged(secret) and leaked(handover.store) == [] and place.read_bytes() == SAME_LENGTH
        handover.sweeper.run()
        assert handover.read(NAME) == SAME_LENGTH


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", MAKERS)
def test_exchanged_with_its_directory(base: Path, secret: Path, kind: str) -> None:
    """What took the place of a file does not keep a name that a tool gets, where its directory in the drop is gone."""
    place = base / "data/sync/sub" / NAME

    class Gone(ExchangingDisk):
        """Somebody takes the directory away before it is put back."""

        def lstat(self, disk_path: DiskPath) -> os.stat_result | None:
            if disk_path.local == base / "data/store/sub" / NAME and self.done and place.parent.exists():
                place.parent.rename(place.parent.with_name("_gone"))
            return super().lstat(disk_path)

    place.parent.mkdir(parents=True)
    with handing_over(
        base / "data", Gone("rename", place, lambda path: MAKERS[kind](path, secret)), settle_seconds=0
    ) as handover:
        own(place, secret)
        handover.sweeper.run()
        left = handover.store / "sub" / NAME
        assert not left.exists() and not left.is_symlink()
        assert not place.parent.exists() and len(list(left.parent.glob(".sftpgate-exchanged-*"))) == 1
        assert unchanged(secret)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", MAKERS)
def test_there_again_at_the_last_moment(base: Path, secret: Path, kind: str) -> None:
    """What comes to the place of a recorded file that was not there when we looked is left in the drop."""
    place = base / "data/sync" / NAME

    class Late(Disk):
        """Somebody takes the file away once it is recorded, and puts something else there when we have looked again."""

        looks = 0
        in_move = False

        def lstat(self, disk_path: DiskPath) -> os.stat_result | None:
            found = super().lstat(disk_path)
            if disk_path.local == place and self.in_move:
                self.looks += 1
                if self.looks == 1:
                    MAKERS[kind](place, secret)
            return found

    disk = Late()
    with handing_over(base / "data", disk, settle_seconds=0) as handover:
        own(place, secret)
        record = handover.system.journal.files.move

        def move(*args: Any, **options: Any) -> int:
            place.unlink()
            disk.in_move = True
            return record(*args, **options)

        handover.system.journal.files.move = move  # type: ignore[method-assign]
        handover.sweeper.run()
        assert disk.looks == 1
        assert not (handover.store / NAME).exists() and not (handover.store / NAME).is_symlink()
        assert unchanged(secret) and leaked(handover.store) == []


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", MAKERS)
def test_exchanged_before_it_is_copied(base: Path, secret: Path, kind: str) -> None:
    """Where the drop is on another filesystem, what takes the place of a file is not copied in its stead."""
    place = base / "data/sync" / NAME

    class Apart(Disk):
        """Drop and store are on two filesystems; somebody exchanges the file before it is copied."""

        copies = 0

        def rename(self, source: DiskPath, target: DiskPath, *, replacing: bool = True) -> None:
            if source.local == place:
                raise CrossDevice
            super().rename(source, target, replacing=replacing)

        def copy(self, source: DiskPath, *rest: Any, **options: Any) -> None:
            self.copies += 1
            place.unlink()
            MAKERS[kind](place, secret)
            super().copy(source, *rest, **options)

    disk = Apart()
    with handing_over(base / "data", disk, settle_seconds=0) as handover:
        own(place, secret)
        handover.sweeper.run()
        assert disk.copies == 1
        assert not (handover.store / NAME).exists() and unchanged(secret) and leaked(handover.store) == []


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "link to a directory"])
def test_a_new_directory_is_exchanged(base: Path, secret: Path, kind: str) -> None:
    """What takes the place of a directory that was just made does not get its mode."""
    place = base / "made"

    class Exchanging(Disk):
        """Somebody exchanges it."""

        def open_up(self, disk_path: DiskPath, mode: int, gid: int | None) -> None:
            place.rmdir()
            MAKERS[kind](place, secret)
            super().open_up(disk_path, mode, gid)

    with pytest.raises(SftpgateError):
        Exchanging().make_dir(DiskPath(base, "made"), 0o750)
    assert unchanged(secret) and stat.S_IMODE(secret.stat().st_mode) != 0o750


@pytest.mark.promise("P6")
@pytest.mark.parametrize("kind", ["symbolic link", "hard link"])
def test_exchanged_before_it_is_archived(base: Path, secret: Path, kind: str) -> None:
    """A link in the place of a held file, at the moment when that makes way for a newer one, is not archived in its stead."""
    place = base / "data/sync" / NAME
    disk = ExchangingDisk("link", place, lambda path: MAKERS[kind](path, secret))
    with handing_over(base / "data", disk) as handover:
        (handover.drop / "alock.txt").write_bytes(b"")
        handover.put(NAME, SAME_LENGTH)
        with suppress(SftpgateError):
            handover.put(NAME, b"newer\n")
        assert disk.done and handover.archived() == [] and unchanged(secret) and leaked(handover.store) == []


@contextmanager
def exchanging(place: Path, aside: Path, secret: Path) -> Iterator[None]:
    """Somebody who gives one name to a file of its own, links of both kinds, a directory and a link to one, as fast as it can."""
    aside.mkdir()
    ended = threading.Event()
    makers = [maker for other in MAKERS.values() for maker in (own, other)]

    def work() -> None:
        for number, make in enumerate(cycle(makers)):
            if ended.is_set():
                return
            fresh, old = aside / f"new{number}", aside / f"old{number}"
            make(fresh, secret)
            with suppress(OSError):
                place.rename(old)
            with suppress(OSError):
                fresh.rename(place)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            place.rename(aside / "last")


@pytest.mark.promise("P6")
async def test_races_with_operations_and_sweeps(start: Start, base: Path, secret: Path) -> None:
    """Whatever has the name at each moment, no operation and no sweep reads, writes or changes what a link leads to."""
    async with start(sweep_interval=0.01, settle_seconds=0, max_handles=10_000) as gate, gate.raw() as raw:
        with exchanging(gate.drop / NAME, base / "aside", secret):
            for _ in range(ROUNDS):
                await raw.put("own.csv", b"own\n")
                for operation, request in EVERY.items():
                    for path in (NAME, f"{NAME}/file"):
                        answer = await request(raw, path)
                        assert SECRET not in answer.body, operation
                        if answer.kind == Reply.HANDLE:
                            read = await raw.read(answer.handle)
                            assert SECRET not in read.body, operation
                            await raw.write(answer.handle, 0, b"changed\n")
                            await raw.close(answer.handle)
                        assert unchanged(secret), operation
            await gate.when(lambda: bool(gate.log.events("sweep.took") or gate.log.events("sweep.refused")))
    assert unchanged(secret) and leaked(gate.store) == []


@pytest.fixture
def handover(base: Path) -> Iterator[Handover]:
    """The hand-over without a network: thousands of sweeps."""
    with handing_over(base / "data", settle_seconds=0) as made:
        yield made


@pytest.mark.promise("P6")
def test_races_with_sweeps_alone(handover: Handover, base: Path, secret: Path) -> None:
    """What comes into the store in hundreds of sweeps is what the local program wrote, never what a link leads to."""
    taken = 0
    with exchanging(handover.drop / NAME, base / "aside", secret):
        for number in count():
            result = handover.sweeper.run()
            taken += result.taken if result else 0
            assert leaked(handover.store) == [] and unchanged(secret)
            if taken and number >= SWEEPS:
                break
    assert handover.read(NAME) in (SAME_LENGTH, None)
    assert set(handover.archived()) <= {SAME_LENGTH}
    assert with_names_elsewhere(handover.store) == []


@pytest.mark.promise("P6")
def test_a_directory_on_the_way_is_exchanged(handover: Handover, base: Path, secret: Path) -> None:
    """A directory of the drop that becomes a link while a sweep walks leads nowhere."""
    with exchanging(handover.drop / "sub", base / "aside", secret):
        for _ in range(SWEEPS // 3):
            handover.sweeper.run()
    assert unchanged(secret) and leaked(handover.store) == []
