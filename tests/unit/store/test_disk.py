"""The disk: no link is followed, nothing waits, and every error of the system has one of ours."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from pathlib import Path

import pytest

from sftpgate.errors import (
    AlreadyExists,
    CrossDevice,
    DirectoryNotEmpty,
    IsADirectory,
    NameRefused,
    NoSpace,
    NoSuchFile,
    NotADirectory,
    ReadOnlyStorage,
    SettingsError,
    SftpgateError,
    StorageError,
)
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, FileModes, translate
from sftpgate.store.kernel.open_files import copy_bytes, has_writer, try_lock
from sftpgate.store.layout import Layout

DISK = Disk()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with a file and a directory in it."""
    top = tmp_path / "root"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_bytes(b"content\n")
    (top / "sub/file").write_bytes(b"below\n")
    return top


@pytest.fixture
def linked(root: Path, tmp_path: Path) -> Path:
    """The same with links that lead out of it, in it, to nowhere and to themselves."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret\n")
    (root / "link").symlink_to(tmp_path / "outside/secret")
    (root / "dirlink").symlink_to(tmp_path / "outside")
    (root / "inner").symlink_to("sub")
    (root / "dangling").symlink_to("nothing")
    (root / "loop").symlink_to("loop")
    return root


def content(path: Path) -> bytes | None:
    """What is at a path on disk, through links as well."""
    return path.read_bytes() if path.exists() else None


# -- links -----------------------------------------------------------------------------------------------------------

LINKS = ("link", "dirlink", "inner", "dangling", "loop")
THROUGH = ("dirlink/secret", "inner/file", "dirlink/new", "loop/x", "dangling/x")


@pytest.mark.promise("P6")
@pytest.mark.parametrize("path", [*LINKS, *THROUGH])
def test_files_are_not_opened_through_links(linked: Path, path: str) -> None:
    """No file is opened through a link, be it the name itself or a directory on the way."""
    for opening in (DISK.open_read, DISK.open_write):
        with pytest.raises((NoSuchFile, NotADirectory)):
            opening(DiskPath(linked, path))


@pytest.mark.promise("P6")
@pytest.mark.parametrize("path", THROUGH)
def test_names_are_not_changed_through_links(linked: Path, path: str) -> None:
    """Nothing is created, renamed, linked, removed or made through a link to a directory."""
    disk_path, file = DiskPath(linked, path), DiskPath(linked, "file")
    acts = (
        lambda: DISK.create(disk_path, 0o600),
        lambda: DISK.rename(file, disk_path),
        lambda: DISK.rename(disk_path, file),
        lambda: DISK.link(file, disk_path),
        lambda: DISK.unlink(disk_path),
        lambda: DISK.make_dir(disk_path, 0o700),
        lambda: DISK.remove_dir(disk_path),
        lambda: DISK.copy(file, disk_path, 0o600),
        lambda: DISK.write_small(disk_path, b"x"),
        lambda: DISK.sync_dirs([disk_path.parent]),
        lambda: list(DISK.entries(disk_path.parent)),
    )
    for act in acts:
        with pytest.raises((NoSuchFile, NotADirectory)):
            act()
    assert content(linked.parent / "outside/secret") == b"secret\n"
    assert sorted(path.name for path in (linked.parent / "outside").iterdir()) == ["secret"]
    assert content(linked / "file") == b"content\n" and content(linked / "sub/file") == b"below\n"


@pytest.mark.promise("P6")
def test_links_are_seen_as_links(linked: Path) -> None:
    """Looking at a link says that it is one, and through one there is nothing."""
    for name in LINKS:
        status = DISK.lstat(DiskPath(linked, name))
        assert status is not None and stat.S_ISLNK(status.st_mode)
        assert not DISK.is_dir(DiskPath(linked, name))
    assert all(DISK.lstat(DiskPath(linked, path)) is None for path in THROUGH)
    kinds = {entry.name: (entry.is_file, entry.is_dir) for entry in DISK.entries(DiskPath(linked, ""))}
    assert kinds == dict.fromkeys(LINKS, (False, False)) | {"file": (True, False), "sub": (False, True)}


@pytest.mark.promise("P6")
def test_a_rename_replaces_the_link_itself(linked: Path) -> None:
    """A file that takes the name of a link takes its place, and what it led to stays."""
    DISK.rename(DiskPath(linked, "file"), DiskPath(linked, "link"))
    assert not (linked / "link").is_symlink() and content(linked / "link") == b"content\n"
    assert content(linked.parent / "outside/secret") == b"secret\n"


def test_the_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    """The root itself may be reached through links: the admin chose it."""
    (tmp_path / "alias").symlink_to(root)
    os.close(DISK.open_read(DiskPath(tmp_path / "alias", "sub/file")))


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P6")
def test_special_files_are_no_files(root: Path) -> None:
    """A FIFO is not opened, and opening it does not wait for anybody; a directory is said to be one."""
    os.mkfifo(root / "fifo")
    with pytest.raises((NoSuchFile, StorageError)):
        DISK.open_read(DiskPath(root, "fifo"))
    with pytest.raises(NoSuchFile):
        DISK.open_write(DiskPath(root, "fifo"))
    with pytest.raises(IsADirectory):
        DISK.open_read(DiskPath(root, "sub"))


@pytest.mark.promise("P3")
def test_creation_never_replaces(root: Path) -> None:
    """A new file, and a second name, never take the place of another one, nor that of a link."""
    (root / "link").symlink_to("file")
    for name in ("file", "sub", "link"):
        with pytest.raises(AlreadyExists):
            DISK.create(DiskPath(root, name), 0o600)
        with pytest.raises(AlreadyExists):
            DISK.link(DiskPath(root, "sub/file"), DiskPath(root, name))
    with pytest.raises(AlreadyExists):
        DISK.copy(DiskPath(root, "sub/file"), DiskPath(root, "file"), 0o600)
    assert content(root / "file") == b"content\n"


def test_write_small_replaces_whole(root: Path) -> None:
    """A small file of ours is replaced at once, also after a crash left a new one half-way."""
    (root / ".file.new").write_bytes(b"half")
    DISK.write_small(DiskPath(root, "file"), b"new\n")
    assert content(root / "file") == b"new\n" and not (root / ".file.new").exists()
    assert DISK.read_small(DiskPath(root, "file")) == b"new\n"
    assert DISK.read_small(DiskPath(root, "file"), 2) == b"ne"


def test_an_early_flush_promises_nothing(root: Path) -> None:
    """What the disk begins to write stays as it is and can be written on; where it cannot begin, nothing is said."""
    disk = Disk()
    fd = disk.create(DiskPath(root, "early"), 0o600)
    disk.write(fd, 0, b"x" * 10_000)
    disk.begin_flush(fd, 0, 10_000)
    disk.write(fd, 5_000, b"y" * 10_000)
    disk.begin_flush(fd, 4_000, 2**40)
    assert os.pread(fd, 20_000, 0) == b"x" * 5_000 + b"y" * 10_000
    os.close(fd)
    disk.begin_flush(fd, 0, 1)


def test_unlink(root: Path) -> None:
    """A name that is not there is an error, unless it may be missing."""
    DISK.unlink(DiskPath(root, "file"))
    with pytest.raises(NoSuchFile):
        DISK.unlink(DiskPath(root, "file"))
    DISK.unlink(DiskPath(root, "file"), missing_ok=True)
    DISK.unlink(DiskPath(root, "none/file"), missing_ok=True)
    with pytest.raises(IsADirectory):
        DISK.unlink(DiskPath(root, "sub"))


@pytest.mark.promise("P5")
def test_copies_keep_times(root: Path) -> None:
    """A copy has the content and the times of its source, and the mode that it is given."""
    os.utime(root / "file", ns=(5_000_000_001, 6_000_000_002))
    DISK.copy(DiskPath(root, "file"), DiskPath(root, "sub/copy"), 0o600)
    status = (root / "sub/copy").stat()
    assert content(root / "sub/copy") == b"content\n"
    assert (status.st_atime_ns, status.st_mtime_ns) == (5_000_000_001, 6_000_000_002)
    assert status.st_mode & 0o777 == 0o600


@pytest.mark.promise("P1")
def test_bytes_are_copied_between_filesystems(tmp_path: Path) -> None:
    """Content is copied whole, also where the kernel cannot copy by itself."""
    data = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(data)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.memfd_create("target")
    try:
        copy_bytes(source, target)
        assert os.pread(target, len(data) + 1, 0) == data
    finally:
        os.close(source)
        os.close(target)


def test_directories(root: Path) -> None:
    """Directories are made with exactly the mode that is asked for, parents included, and only empty ones are removed."""
    old = os.umask(0o077)
    try:
        DISK.make_dirs(DiskPath(root, "a/b/c"), 0o755)
    finally:
        os.umask(old)
    assert all((root / path).stat().st_mode & 0o777 == 0o755 for path in ("a", "a/b", "a/b/c"))
    DISK.make_dirs(DiskPath(root, "a/b/c"), 0o700)
    with pytest.raises(AlreadyExists):
        DISK.make_dir(DiskPath(root, "a"), 0o700)
    with pytest.raises(DirectoryNotEmpty):
        DISK.remove_dir(DiskPath(root, "a"))
    DISK.remove_dir(DiskPath(root, "a/b/c"))
    with pytest.raises(NotADirectory):
        DISK.remove_dir(DiskPath(root, "file"))
    with pytest.raises((NotADirectory, AlreadyExists)):
        DISK.make_dirs(DiskPath(root, "file/x"), 0o700)


def test_looking(root: Path) -> None:
    """Where there is nothing, or a directory on the way is none, nothing is found."""
    assert DISK.lstat(DiskPath(root, "none")) is None and DISK.lstat(DiskPath(root, "file/x")) is None
    assert DISK.lstat(DiskPath(root, "none/x")) is None and DISK.is_dir(DiskPath(root, ""))
    assert sorted(DISK.names(DiskPath(root, ""))) == ["file", "sub"] and DISK.names(DiskPath(root, "none")) == []
    assert DISK.names(DiskPath(root, "file")) == []
    with pytest.raises(NoSuchFile):
        list(DISK.entries(DiskPath(root, "none")))


@pytest.mark.promise("P5")
def test_looking_for_a_name_that_is_too_long(root: Path) -> None:
    """Of a name that no file can have there is no file: looking for it is no error."""
    assert DISK.lstat(DiskPath(root, "x" * 256)) is None
    assert not DISK.exists(DiskPath(root, "x" * 255 + ".sha256"))


# -- locks -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P4")
def test_locks(root: Path) -> None:
    """A lock has one holder, and is free again after it."""
    disk_path = DiskPath(root, "lock")
    with DISK.locked(disk_path) as mine:
        assert mine
        with DISK.locked(disk_path, wait=False) as second:
            assert not second
    with DISK.locked(disk_path, wait=False) as third:
        assert third


@pytest.mark.promise("P4")
def test_a_lock_lives_as_long_as_its_descriptor(root: Path) -> None:
    """The kernel gives a lock back when the descriptor is closed."""
    one, other = DISK.open_write(DiskPath(root, "file")), DISK.open_write(DiskPath(root, "file"))
    assert try_lock(one) and not try_lock(other)
    os.close(one)
    assert try_lock(other)
    os.close(other)


@pytest.mark.promise("P1")
def test_writers_are_seen(root: Path) -> None:
    """A file that somebody has open for writing is known to be, and one that is only read is not."""
    fd = DISK.open_read(DiskPath(root, "file"))
    try:
        assert not has_writer(fd)
        with (root / "file").open("ab"):
            assert has_writer(fd)
        with (root / "file").open("rb"):
            assert not has_writer(fd)
    finally:
        os.close(fd)


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOENT, NoSuchFile),
        (errno.ELOOP, NoSuchFile),
        (errno.EEXIST, AlreadyExists),
        (errno.EISDIR, IsADirectory),
        (errno.ENOTDIR, NotADirectory),
        (errno.ENOTEMPTY, DirectoryNotEmpty),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EROFS, ReadOnlyStorage),
        (errno.EXDEV, CrossDevice),
        (errno.ENAMETOOLONG, NameRefused),
        (errno.EILSEQ, NameRefused),
        (errno.EIO, StorageError),
        (errno.EACCES, StorageError),
        (errno.EMFILE, StorageError),
        (None, StorageError),
    ],
)
def test_errors(number: int | None, expected: type[SftpgateError]) -> None:
    """Every error of the system becomes one of ours; those that name a local path are for the local admin only."""
    error = OSError(number, "why") if number else OSError("why")
    found = translate(error, "open /data/store/x")
    assert type(found) is expected
    assert found.local or "/data" not in found.message


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    """A root below a file is an error of the settings that says what to do."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="choose another place"):
        DISK.make_root(tmp_path / "file/root", 0o750)


# -- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P6")
def test_the_layout_is_made_once(tmp_path: Path) -> None:
    """What runners read has the configured mode, ours is private but for the way to runs; made again, nothing changes."""
    layout = Layout(tmp_path / "store", tmp_path / "sync")
    for _ in range(2):
        layout.create(DISK, FileModes(dir_mode=0o755))
        assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("store", "sync", "store/archives")] == [0o755] * 3
        ours = tmp_path / "store/.sftpgate"
        assert [(ours / name).stat().st_mode & 0o777 for name in (".", "runs")] == [0o711] * 2
        private = [path for path in ours.iterdir() if path.name != "runs"]
        assert {path.stat().st_mode & 0o777 for path in private} == {0o700}


def test_an_older_layout_is_opened_up(tmp_path: Path) -> None:
    """The way to the directories of runs is opened for the store's group where an earlier version closed it."""
    layout = Layout(tmp_path / "store", tmp_path / "sync")
    layout.create(DISK, FileModes())
    (tmp_path / "store/.sftpgate").chmod(0o700)
    layout.create(DISK, FileModes())
    assert (tmp_path / "store/.sftpgate").stat().st_mode & 0o777 == 0o710
    (tmp_path / "store").chmod(0o711)
    layout.create(DISK, FileModes(dir_mode=0o755))
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o711


@pytest.mark.promise("P5")
def test_two_listings_at_a_time(tmp_path: Path) -> None:
    """A listing misses nothing while another one of the same directory is under way."""
    names = {f"{number:0100}" for number in range(3000)}  # more than the kernel gives at once
    for name in names:
        (tmp_path / name).touch()
    disk_path, disk = DiskPath(tmp_path, ""), Disk()
    first = disk.entries(disk_path)
    found = {next(first).name}
    assert set(disk.names(disk_path)) == names
    assert {entry.name for entry in disk.entries(disk_path)} == names
    found |= {entry.name for entry in first}
    assert found == names


@pytest.mark.parametrize("others", [0, 200], ids=["listed", "looked-at"])
def test_which_names_are_present(tmp_path: Path, others: int) -> None:
    """Those names of many that something has are found in a small directory and in a large one."""
    for number in range(others):
        (tmp_path / f"other{number}").touch()
    (tmp_path / "b").touch()
    (tmp_path / "d").mkdir()
    assert DISK.present(DiskPath(tmp_path, ""), ["x" * 300, "a", "b", "c", "d", "e"]) == ["b", "d"]
    assert DISK.present(DiskPath(tmp_path, "none"), ["a", "b", "c", "d", "e"]) == []


def _acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ANYBODY = 2**32 - 1
OWNER, NAMED, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20


@pytest.mark.parametrize("path", ["", "made/later"])
def test_a_file_inherits_the_default_acl(tmp_path: Path, path: str) -> None:
    """A file that is about to be renamed into a directory gets its default ACL, or that of the nearest one above, as a file that
    is made there does; its mode narrows it.
    """
    (tmp_path / "store").mkdir()
    default = _acl((OWNER, 7, ANYBODY), (NAMED, 5, 65534), (GROUP, 5, ANYBODY), (MASK, 7, ANYBODY), (OTHER, 5, ANYBODY))
    os.setxattr(tmp_path / "store", "system.posix_acl_default", default)
    made = os.open(tmp_path / "store/new", os.O_WRONLY | os.O_CREAT, 0o640)
    os.close(made)
    (tmp_path / "file").touch()
    DISK.inherit_acl(DiskPath(tmp_path, "file"), DiskPath(tmp_path / "store", path), 0o640)
    expected = _acl((OWNER, 6, ANYBODY), (NAMED, 5, 65534), (GROUP, 5, ANYBODY), (MASK, 4, ANYBODY), (OTHER, 0, ANYBODY))
    assert os.getxattr(tmp_path / "file", "system.posix_acl_access") == expected
    assert os.getxattr(tmp_path / "store/new", "system.posix_acl_access") == expected, "the kernel does the same"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_no_acl_where_there_is_none(tmp_path: Path) -> None:
    """A file keeps what it has where its directory has no default ACL, or is not there at all."""
    (tmp_path / "file").touch()
    for root in (tmp_path, tmp_path / "none"):
        DISK.inherit_acl(DiskPath(tmp_path, "file"), DiskPath(root, "d"), 0o640)
    assert os.listxattr(tmp_path / "file") == []


def test_a_refusal_opens_directories_anew(tmp_path: Path) -> None:
    """A kept directory whose use was refused is not used again: its filesystem may have been mounted anew since."""
    (tmp_path / "a").mkdir()
    disk = Disk()
    with disk.directory(DiskPath(tmp_path, "a")) as before, disk.directory(DiskPath(tmp_path, "a")) as same:
        assert same == before
        with contextlib.suppress(PermissionError), disk.directory(DiskPath(tmp_path, "a")):
            raise PermissionError
        with disk.directory(DiskPath(tmp_path, "a")) as after:
            assert after != before
