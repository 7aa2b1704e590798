"""The directory of a run: what a command is given, and where it may leave something.

The claimed file lies under the id of its arrival, in a place that is nobody's business; the command gets it under its own name,
as a second link to the same file. The directory is made after the claim and removed after its end; a crash leaves one that no
claim speaks of, and ``DeadClaims.all`` removes it.

Rights: the directory, the file and the one for rejected lines belong to the store's group, or, if the tool runs as somebody
else, to that one's group: it may pass, list and read, and write nothing but the rejected lines and the result. A file that was
not readable for it is lent to it for the run: what it was before is in the lock's file, and ``take_back`` restores it. Nobody but
us can make a name in the directory, so nobody can put a link or a fifo there. Everything blocks.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sftpgate.errors import AlreadyExists, CrossDevice, SftpgateError
from sftpgate.handover.resources import Resources
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.phrases import Sentence, sentence
from sftpgate.policy.stamps import split_suffix
from sftpgate.runners.commands.keepers import LOCK_NAME
from sftpgate.runners.commands.system_accounts import SystemAccount, may
from sftpgate.runners.reports import opened
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import try_lock

log = get_logger("runner")

LOOK = "look-"  # how the directories of a look begin: they belong to no claim
_READ = 4  # of a mode's three bits


class RunDirectory:
    """The directory of one run of ``arrival``, whether it exists or not; without one, of a look at a ``sample`` of this name.

    No arrival's name begins with a dot, so nothing of ours in it can have the file's own name.
    """

    def __init__(self, resources: Resources, run: str, arrival: Arrival | None, *, sample: str = "") -> None:
        self._resources = resources
        self._claimed = arrival
        self._name = arrival.path.rpartition("/")[2] if arrival else sample
        self.disk_path = resources.layout.runs / run
        self._output = self.disk_path / ".output"
        self._lock = self.disk_path / LOCK_NAME
        self._tryback = self.disk_path / f".tryback{split_suffix(self._name)[1]}"
        self._result = self.disk_path / ".result.json"

    @property
    def _arrival(self) -> Arrival:
        assert self._claimed is not None, "a sample is no claimed file"
        return self._claimed

    @property
    def size(self) -> int:
        """The size of the claimed file in bytes, as it was received."""
        return self._arrival.size

    @property
    def file(self) -> Path:
        """The claimed file under its own name: the input itself, not a copy."""
        return (self.disk_path / self._name).local

    @property
    def output(self) -> Path:
        """Where the output of the command goes."""
        return self._output.local

    @property
    def tryback(self) -> Path:
        """Where a command may write the lines that it rejected."""
        return self._tryback.local

    @property
    def result(self) -> Path:
        """Where a command may say in JSON what it did (``policy.outcome.parse_result``)."""
        return self._result.local

    def ensure(self, account: SystemAccount | None = None) -> None:
        """Make the directory where it is missing, without the file. The store's group may read in it, if it may in the store; the
        group of ``account`` may in any case, and no other one.
        """
        disk, modes = self._resources.disk, self._resources.modes
        if not disk.is_dir(self.disk_path):
            disk.make_dir(self.disk_path, 0o700)
            disk.open_up_if_we_may(self.disk_path, 0o750 if account else 0o700 | modes.dir_mode & 0o050, self._group(account))

    def prepare(self, account: SystemAccount | None = None) -> None:
        """Make the directory, with the claimed file in it, and an empty file each for rejected lines and for the result, for the
        account that the tool runs as; None for ours.

        Those are there beforehand because a command that runs as another user may write to them, and not make them.
        """
        self.ensure(account)
        self._prepare_papers(account)
        source = self._resources.layout.disk_path(location(Area.CLAIMS, self._arrival.id))
        self._lend(source, account)
        target = self.disk_path / self._name
        try:
            self._resources.disk.link(source, target)
        except AlreadyExists:
            pass
        except CrossDevice:
            self._resources.disk.copy(source, target, self._resources.modes.file_mode, self._group(account) if account else None)

    def prepare_sample(self, account: SystemAccount | None) -> None:
        """Make the directory as ``prepare`` does, with an empty file in the place of a claimed one."""
        self.ensure(account)
        self._prepare_papers(account)
        mode = self._resources.modes.file_mode
        self._make(self.disk_path / self._name, mode | 0o040 if account else mode, account)

    def _prepare_papers(self, account: SystemAccount | None) -> None:
        readable = 0o040 if account else self._resources.modes.file_mode & 0o040
        for disk_path in (self._tryback, self._result):
            self._make(disk_path, 0o600 | readable | readable >> 1, account)
        self._make(self._lock, 0o600 | readable, account)

    def _group(self, account: SystemAccount | None) -> int:
        """Return the group of what lies in the directory: the account's, or the store's, whoever we are."""
        if account is not None:
            return account.gid
        modes = self._resources.modes
        return self._store_group() if modes.gid is None else modes.gid

    def _store_group(self) -> int:
        return self._resources.disk.group_of(DiskPath(self.disk_path.root, ""))

    def _make(self, disk_path: DiskPath, mode: int, account: SystemAccount | None) -> None:
        fd = self._resources.disk.create(disk_path, 0o600)
        try:
            self._resources.disk.set_mode_if_we_may(fd, mode, self._group(account))
        finally:
            os.close(fd)

    def _lend(self, source: DiskPath, account: SystemAccount | None) -> None:
        """Let the account read the claimed file, if it may not; if we may not let it, the look before the start says so."""
        if account is None:
            return
        try:
            fd = self._resources.disk.open_read(source)
        except SftpgateError:
            return  # gone, or not a file: whoever has the claim finds that out
        try:
            status = os.fstat(fd)
            if not may(account, status, _READ):
                self._remember({"mode": status.st_mode & 0o777, "gid": status.st_gid})
                self._resources.disk.set_mode_if_we_may(fd, status.st_mode & 0o700 | 0o440, account.gid)
        except SftpgateError as error:
            log.warning("run.file_not_lent", file=str(source.local), reason=error.message)
        finally:
            os.close(fd)

    def _remember(self, lent: dict[str, int]) -> None:
        fd = self._resources.disk.open_write(self._lock)
        try:
            self._resources.disk.write(fd, 0, json.dumps(lent).encode())
        finally:
            os.close(fd)

    def take_back(self) -> None:
        """Give the claimed file the mode and group again that it had before it was lent to the tool's user."""
        try:
            lent = json.loads(self._resources.disk.read_small(self._lock) or b"null")
        except (SftpgateError, ValueError):
            return
        if lent is None:
            return
        try:
            fd = self._resources.disk.open_read(self._resources.layout.disk_path(location(Area.CLAIMS, self._arrival.id)))
            try:
                self._resources.disk.set_mode_if_we_may(fd, lent["mode"], lent["gid"])
            finally:
                os.close(fd)
        except SftpgateError as error:
            log.warning("run.file_not_taken_back", arrival=self._arrival.id, reason=error.message)

    def is_held(self) -> bool:
        """Return whether something that a killed runner started holds the lock of the run still."""
        try:
            fd = self._resources.disk.open_read(self._lock)
        except SftpgateError:
            return False
        try:
            return not try_lock(fd)
        finally:
            os.close(fd)

    def written_output(self) -> BinaryIO | None:
        """Return what the command wrote, open for reading; None if it wrote nothing."""
        return opened(self._resources, self._output)

    def written_tryback(self) -> BinaryIO | None:
        """Return the lines that the command rejected, open for reading; None if there are none."""
        return opened(self._resources, self._tryback)

    def written_result(self) -> BinaryIO | None:
        """Return what the command wrote as its result, open for reading; None if there is none."""
        return opened(self._resources, self._result)

    def has_unusable_result(self) -> bool:
        """Return whether something else than an empty file, or nothing, is where the result was to be; asked if none was read."""
        return self._is_unusable(self._result)

    def has_unusable_tryback(self) -> bool:
        """Return the same of the file for rejected lines."""
        return self._is_unusable(self._tryback)

    def _is_unusable(self, disk_path: DiskPath) -> bool:
        found = self._resources.disk.lstat(disk_path)
        return found is not None and (not stat.S_ISREG(found.st_mode) or found.st_size > 0)

    def discard_papers(self) -> None:
        """Remove what the command wrote, which nobody can keep, and what was made of it: that takes room on a full disk."""
        for entry in list(self._resources.disk.entries(self.disk_path)):
            if entry.name.startswith(".") and not entry.is_dir and entry.name != LOCK_NAME:
                self._resources.disk.unlink(self.disk_path / entry.name, missing_ok=True)

    def claimed_file(self) -> BinaryIO | None:
        """Return the claimed file itself, open for reading; None if it is gone or empty."""
        return opened(self._resources, self._resources.layout.disk_path(location(Area.CLAIMS, self._arrival.id)))

    def alterations(self) -> Iterator[Sentence]:
        """Yield what differs between the claimed file and the one that was received: sentences for the report."""
        found = self._resources.disk.lstat(self._resources.layout.disk_path(location(Area.CLAIMS, self._arrival.id)))
        if found is not None and (found.st_size, found.st_mtime_ns) != (self._arrival.size, self._arrival.mtime_ns):
            text = "the file was changed on this machine since it was received; it has {size} bytes now"
            yield sentence(text, size=found.st_size)


def remove(resources: Resources, run: str) -> None:
    """Remove a run's directory, with whatever a command left in it. What cannot be removed stays, and the log says so."""
    directory = resources.layout.runs / run
    try:
        _remove_tree(resources, directory)
    except SftpgateError as error:
        log.warning("run.directory_stays", directory=str(directory.local), reason=error.message)


def _remove_tree(resources: Resources, directory: DiskPath) -> None:
    if not resources.disk.is_dir(directory):
        return
    for entry in list(resources.disk.entries(directory)):
        if entry.is_dir:
            _remove_tree(resources, directory / entry.name)
        else:
            resources.disk.unlink(directory / entry.name, missing_ok=True)
    resources.disk.remove_dir(directory)
