"""The contract of ``store.content``: each implementation keeps it, also if it is stopped at any of its steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sftpgate.errors import AlreadyExists, CrossDevice, FileExchanged, IsADirectory, NoSuchFile, SftpgateError, StorageError
from sftpgate.policy.locations import Location
from sftpgate.store.content import Contents, LocalContents
from sftpgate.store.digest import sha256_of
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, FileModes
from sftpgate.store.layout import Layout

OLD, NEW = b"old\n", b"new,content\n"
DROP, STORE, QUEUE, ARCHIVE = (Location(where) for where in ("drop/x.csv", "store/x.csv", "queue/01", "archives/x.csv"))


class Stopped(Exception):
    """The process died here."""


class StoppingDisk(Disk):
    """A disk whose process dies before the act of a number; ``is_apart``: drop and store are on two filesystems."""

    def __init__(self, drop: Path, *, is_apart: bool) -> None:
        self._drop = drop
        self._is_apart = is_apart
        self.stop_at = 0
        self.steps = 0

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Before each act."""
        self.steps += 1
        if self.steps == self.stop_at:
            raise Stopped

    def rename(self, source: DiskPath, target: DiskPath, *, replacing: bool = True) -> None:
        """A rename, as the kernel refuses it between filesystems."""
        self._refuse(source, target)
        super().rename(source, target, replacing=replacing)

    def link(self, source: DiskPath, target: DiskPath) -> None:
        """A second name, refused so too; but what is there already is said first."""
        if not self.exists(target):
            self._refuse(source, target)
        super().link(source, target)

    def _refuse(self, source: DiskPath, target: DiskPath) -> None:
        if self._is_apart and (source.root == self._drop) is not (target.root == self._drop):
            raise CrossDevice


class Kept:
    """An implementation under test, and a way to stop it: ``again`` is the next process's."""

    def __init__(self, directory: Path, *, is_apart: bool) -> None:
        self.layout = Layout(directory / "store", directory / "drop")
        self.disk = StoppingDisk(directory / "drop", is_apart=is_apart)
        self.layout.create(self.disk, FileModes())
        self.contents: Contents = self.again()

    def again(self) -> Contents:
        """The same contents for another process."""
        self.disk.stop_at = 0
        return LocalContents(self.layout, self.disk, FileModes())

    def write(self, where: Location, content: bytes) -> int:
        """A whole file at ``where``; its inode number."""
        file = self.layout.disk_path(where).local
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file.stat().st_ino

    def read(self, where: Location) -> bytes | None:
        """What is at ``where``."""
        file = self.layout.disk_path(where).local
        return file.read_bytes() if file.exists() else None

    def leftovers(self) -> list[str]:
        """Files of moves under way."""
        return [str(file) for root in (self.layout.store, self.layout.drop) for file in root.rglob(".sftpgate-*")]


@pytest.fixture(params=[False, True], ids=["local", "local-on-two-filesystems"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Each implementation in turn."""
    return Kept(tmp_path, is_apart=request.param)


def stopped_everywhere(kept: Kept, prepare: Callable[[], object], act: Callable[[Contents], object]) -> Iterator[int]:
    """Prepare and act, stopped at the first step, at the second, … and at last at none."""
    number, ended = 0, False
    while not ended:
        number += 1
        prepare()
        kept.disk.steps, kept.disk.stop_at = 0, number
        try:
            act(kept.contents)
            ended = True
        except Stopped:
            pass
        kept.contents = kept.again()
        yield number
    assert number > 1


MOVES = [
    pytest.param(DROP, STORE, id="drop-to-store"),
    pytest.param(QUEUE, STORE, id="queue-to-store"),
    pytest.param(STORE, DROP, id="store-to-drop"),
    pytest.param(DROP, Location("store/new/deep/x.csv"), id="new-directory"),
]


@pytest.mark.promise("P1", "P3")
@pytest.mark.parametrize(("source", "target"), MOVES)
def test_a_move_is_whole_whenever_it_stops(kept: Kept, source: Location, target: Location) -> None:
    """A move that is stopped anywhere leaves the whole file at its source or target; made again, it leaves it at its target."""

    def move(contents: Contents) -> None:
        contents.move(source, target, key="01", seen=None, before=[])

    for _ in stopped_everywhere(kept, lambda: (kept.write(source, NEW), kept.write(target, OLD)), move):
        found = kept.read(source), kept.read(target)
        assert NEW in found and found[1] in (OLD, NEW)
        if kept.contents.exists(source):
            move(kept.contents)
        assert (kept.read(source), kept.read(target), kept.leftovers()) == (None, NEW, [])


@pytest.mark.promise("P1", "P3")
@pytest.mark.parametrize("source", [STORE, DROP, QUEUE])
@pytest.mark.parametrize("keep_source", [False, True], ids=["moved", "kept"])
def test_a_move_beside_is_whole_whenever_it_stops(kept: Kept, source: Location, keep_source: bool) -> None:
    """A move to a free location that is stopped anywhere leaves the whole file; made again, it ends, and nothing is left over."""

    def move(contents: Contents) -> int | None:
        return contents.move_beside(source, ARCHIVE, key="01", seen=None, keep_source=keep_source)

    def prepare() -> None:
        kept.contents.remove(ARCHIVE)
        kept.write(source, NEW)

    for _ in stopped_everywhere(kept, prepare, move):
        assert {kept.read(source), kept.read(ARCHIVE)} <= {NEW, None} and NEW in (kept.read(source), kept.read(ARCHIVE))
        if kept.contents.exists(source):
            there = move(kept.contents)
            assert there == kept.layout.disk_path(ARCHIVE).local.stat().st_ino
        assert (kept.read(source), kept.read(ARCHIVE)) == (NEW if keep_source else None, NEW)
        assert kept.leftovers() == []


@pytest.mark.promise("P3")
@pytest.mark.parametrize("source", [DROP, QUEUE])
def test_what_must_not_be_replaced_stays(kept: Kept, source: Location) -> None:
    """A move beside another file, or one that does not replace, is refused, and both files are as they were."""
    kept.write(source, NEW)
    kept.write(ARCHIVE, OLD)
    kept.write(STORE, OLD)
    with pytest.raises(AlreadyExists):
        kept.contents.move_beside(source, ARCHIVE, key="01", seen=None)
    with pytest.raises(AlreadyExists):
        kept.contents.move(source, STORE, key="01", seen=None, before=[], replacing=False)
    assert [kept.read(where) for where in (source, ARCHIVE, STORE)] == [NEW, OLD, OLD]


def test_an_inode_number_is_told_if_it_changed(kept: Kept) -> None:
    """A move tells the new number of a file that was copied, and None of one that is the same file."""
    before = kept.write(DROP, NEW)
    told = kept.contents.move(DROP, STORE, key="01", seen=before, before=[])
    now = kept.layout.disk_path(STORE).local.stat().st_ino
    assert told == (now if now != before else None)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("target", [STORE, ARCHIVE])
def test_an_exchanged_file_is_not_taken(kept: Kept, target: Location) -> None:
    """A file that came in the place of the one that is meant is refused, is where it was, and is at the target no more."""
    kept.write(DROP, OLD)
    with pytest.raises(FileExchanged):
        if target == STORE:
            kept.contents.move(DROP, target, key="01", seen=1, before=[])
        else:
            kept.contents.move_beside(DROP, target, key="01", seen=1)
    assert (kept.read(DROP), kept.read(target)) == (OLD, None)


def test_a_file_that_is_nowhere(kept: Kept) -> None:
    """Moving or opening what is not there raises NoSuchFile; removing it does nothing; looking says None."""
    for act in (
        lambda: kept.contents.move(DROP, STORE, key="01", seen=None, before=[]),
        lambda: kept.contents.move_beside(DROP, ARCHIVE, key="01", seen=None),
        lambda: kept.contents.open(DROP),
        lambda: kept.contents.sha256(DROP),
    ):
        with pytest.raises(NoSuchFile):
            act()
    kept.contents.remove(DROP)
    assert kept.contents.status(DROP) is None and not kept.contents.exists(DROP)


def test_what_is_opened_is_the_file(kept: Kept) -> None:
    """A regular file is opened and hashed; a link to one, a directory and a FIFO are not."""
    kept.write(STORE, NEW)
    fd = kept.contents.open(STORE)
    try:
        assert os.read(fd, 100) == NEW and kept.contents.sha256(STORE) == sha256_of(fd)
    finally:
        os.close(fd)
    top = kept.layout.store
    (top / "link").symlink_to(top / "x.csv")
    (top / "dir").mkdir()
    os.mkfifo(top / "fifo")
    for name, error in (("link", SftpgateError), ("dir", IsADirectory), ("fifo", NoSuchFile)):
        with pytest.raises(error):
            kept.contents.open(Location(f"store/{name}"))
        assert kept.contents.exists(Location(f"store/{name}"))


def test_other_names(kept: Kept) -> None:
    """A file that others have linked is told from one that nobody else can reach."""
    kept.write(STORE, NEW)
    found = kept.contents.status(STORE)
    assert found is not None and not kept.contents.has_other_names(found)
    os.link(kept.layout.store / "x.csv", kept.layout.store / "other")
    found = kept.contents.status(STORE)
    assert found is not None and kept.contents.has_other_names(found)


@pytest.mark.promise("P1")
def test_what_is_put_is_whole(kept: Kept) -> None:
    """Small content that is put and stopped anywhere is the old one or the new one, never a part."""
    where = Location("queue/01.json")
    for _ in stopped_everywhere(kept, lambda: kept.write(where, OLD), lambda contents: contents.put(where, NEW)):
        assert kept.read(where) in (OLD, NEW)
    assert kept.read(where) == NEW


def test_places_and_what_is_in_the_way(kept: Kept) -> None:
    """Files of one directory share a place, which can be flushed while it is there; a directory or file in the way is named."""
    place = kept.contents.place(STORE)
    assert place == kept.contents.place(Location("store/y.csv")) and kept.contents.has_place(place)
    kept.contents.flush([place])
    gone = kept.contents.place(Location("store/none/y.csv"))
    assert not kept.contents.has_place(gone)
    with pytest.raises((NoSuchFile, StorageError)):
        kept.contents.flush([gone])
    kept.write(STORE, OLD)
    (kept.layout.store / "dir").mkdir()
    assert kept.contents.obstacle(STORE) is None
    assert "dir" in str(kept.contents.obstacle(Location("store/dir")))
    assert "x.csv" in str(kept.contents.obstacle(Location("store/x.csv/below.csv")))
