"""The directory of a run: what a command is given, and where it may leave something.

The claimed file lies under the id of its arrival, in a place that is nobody's business; the command gets it under its own name,
as a second link to the same file. The directory is made after the claim and removed after its end; a crash leaves one that no
claim speaks of, and ``Returns.all`` removes it.

Rights: the directory, the file and the one for rejected lines belong to the store's group, or, where the tool runs as somebody
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
from sftpgate.intake.moves import Moves
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.stamps import split_suffix
from sftpgate.runners.accounts import Account, may
from sftpgate.runners.keepers import LOCK_NAME
from sftpgate.runners.reports import opened
from sftpgate.store.descriptors import try_lock
from sftpgate.store.spots import Spot

log = get_logger("runner")

LOOK = "look-"  # how the directories of a look begin: they belong to no claim
_READ = 4  # of a mode's three bits


class RunDirectory:
    """The directory of one run of ``arrival``, whether it exists or not; without one, of a look at a ``sample`` of this name.

    No arrival's name begins with a dot, so nothing of ours in it can have the file's own name.
    """

    def __init__(self, moves: Moves, run: str, arrival: Arrival | None, *, sample: str = "") -> None:
        self._moves = moves
        self._claimed = arrival
        self._name = arrival.path.rpartition("/")[2] if arrival else sample
        self.spot = moves.layout.runs / run
        self._output = self.spot / ".output"
        self._lock = self.spot / LOCK_NAME
        self._tryback = self.spot / f".tryback{split_suffix(self._name)[1]}"
        self._result = self.spot / ".result.json"

    @property
    def _arrival(self) -> Arrival:
        assert self._claimed is not None, "a sample is no claimed file"
        return self._claimed

    @property
    def file(self) -> Path:
        """The claimed file under its own name: the input itself, not a copy."""
        return (self.spot / self._name).local

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

    def ensure(self, account: Account | None = None) -> None:
        """Make the directory where it is missing, without the file. The store's group may read in it, if it may in the store; the
        group of ``account`` may in any case, and no other one.
        """
        disk, modes = self._moves.disk, self._moves.modes
        if not disk.is_dir(self.spot):
            disk.make_dir(self.spot, 0o700)
            disk.open_up_if_we_may(self.spot, 0o750 if account else 0o700 | modes.dir_mode & 0o050, self._group(account))

    def prepare(self, account: Account | None = None) -> None:
        """Make the directory, with the claimed file in it, and an empty file each for rejected lines and for the result, for the
        account that the tool runs as; None for ours.

        Those are there beforehand because a command that runs as another user may write to them, and not make them.
        """
        self.ensure(account)
        self._prepare_papers(account)
        source = self._moves.layout.spot(location(Area.CLAIMS, self._arrival.id))
        self._lend(source, account)
        target = self.spot / self._name
        try:
            self._moves.disk.link(source, target)
        except AlreadyExists:
            pass
        except CrossDevice:
            self._moves.disk.copy(source, target, self._moves.modes.file_mode, self._group(account) if account else None)

    def prepare_sample(self, account: Account | None) -> None:
        """Make the directory as ``prepare`` does, with an empty file in the place of a claimed one."""
        self.ensure(account)
        self._prepare_papers(account)
        mode = self._moves.modes.file_mode
        self._make(self.spot / self._name, mode | 0o040 if account else mode, account)

    def _prepare_papers(self, account: Account | None) -> None:
        readable = 0o040 if account else self._moves.modes.file_mode & 0o040
        for spot in (self._tryback, self._result):
            self._make(spot, 0o600 | readable | readable >> 1, account)
        self._make(self._lock, 0o600 | readable, account)

    def _group(self, account: Account | None) -> int:
        """The group of what lies in the directory: the account's, or the store's, whoever we are."""
        if account is not None:
            return account.gid
        modes = self._moves.modes
        return self._store_group() if modes.gid is None else modes.gid

    def _store_group(self) -> int:
        return self._moves.disk.group_of(Spot(self.spot.root, ""))

    def _make(self, spot: Spot, mode: int, account: Account | None) -> None:
        fd = self._moves.disk.create(spot, 0o600)
        try:
            self._moves.disk.set_mode_if_we_may(fd, mode, self._group(account))
        finally:
            os.close(fd)

    def _lend(self, source: Spot, account: Account | None) -> None:
        """Let the account read the claimed file, where it may not; where we may not let it, the look before the start says so."""
        if account is None:
            return
        try:
            fd = self._moves.disk.open_read(source)
        except SftpgateError:
            return  # gone, or not a file: whoever has the claim finds that out
        try:
            status = os.fstat(fd)
            if not may(account, status, _READ):
                self._remember({"mode": status.st_mode & 0o777, "gid": status.st_gid})
                self._moves.disk.set_mode_if_we_may(fd, status.st_mode & 0o700 | 0o440, account.gid)
        except SftpgateError as error:
            log.warning("run.file_not_lent", file=str(source.local), reason=error.message)
        finally:
            os.close(fd)

    def _remember(self, lent: dict[str, int]) -> None:
        fd = self._moves.disk.open_write(self._lock)
        try:
            self._moves.disk.write(fd, 0, json.dumps(lent).encode())
        finally:
            os.close(fd)

    def take_back(self) -> None:
        """Give the claimed file the mode and group again that it had before it was lent to the tool's user."""
        try:
            lent = json.loads(self._moves.disk.read_small(self._lock) or b"null")
        except (SftpgateError, ValueError):
            return
        if lent is None:
            return
        try:
            fd = self._moves.disk.open_read(self._moves.layout.spot(location(Area.CLAIMS, self._arrival.id)))
            try:
                self._moves.disk.set_mode_if_we_may(fd, lent["mode"], lent["gid"])
            finally:
                os.close(fd)
        except SftpgateError as error:
            log.warning("run.file_not_taken_back", arrival=self._arrival.id, reason=error.message)

    def is_held(self) -> bool:
        """Whether something that a killed runner started holds the lock of the run still."""
        try:
            fd = self._moves.disk.open_read(self._lock)
        except SftpgateError:
            return False
        try:
            return not try_lock(fd)
        finally:
            os.close(fd)

    def written_output(self) -> BinaryIO | None:
        """What the command wrote, open for reading; None where it wrote nothing."""
        return opened(self._moves, self._output)

    def written_tryback(self) -> BinaryIO | None:
        """The lines that the command rejected, open for reading; None where there are none."""
        return opened(self._moves, self._tryback)

    def written_result(self) -> BinaryIO | None:
        """What the command wrote as its result, open for reading; None where there is none."""
        return opened(self._moves, self._result)

    def has_unusable_result(self) -> bool:
        """Whether something else than an empty file, or nothing, is where the result was to be; asked where none was read."""
        found = self._moves.disk.lstat(self._result)
        return found is not None and (not stat.S_ISREG(found.st_mode) or found.st_size > 0)

    def claimed_file(self) -> BinaryIO | None:
        """The claimed file itself, open for reading; None where it is gone or empty."""
        return opened(self._moves, self._moves.layout.spot(location(Area.CLAIMS, self._arrival.id)))

    def alterations(self) -> Iterator[str]:
        """What differs between the claimed file and the one that was received: sentences for the report."""
        found = self._moves.disk.lstat(self._moves.layout.spot(location(Area.CLAIMS, self._arrival.id)))
        if found is not None and (found.st_size, found.st_mtime_ns) != (self._arrival.size, self._arrival.mtime_ns):
            yield f"the file was changed on this machine since it was received; it has {found.st_size} bytes now"


def remove(moves: Moves, run: str) -> None:
    """Remove a run's directory, with whatever a command left in it. What cannot be removed stays, and the log says so."""
    directory = moves.layout.runs / run
    try:
        _remove_tree(moves, directory)
    except SftpgateError as error:
        log.warning("run.directory_stays", directory=str(directory.local), reason=error.message)


def _remove_tree(moves: Moves, directory: Spot) -> None:
    if not moves.disk.is_dir(directory):
        return
    for entry in list(moves.disk.entries(directory)):
        if entry.is_dir:
            _remove_tree(moves, directory / entry.name)
        else:
            moves.disk.unlink(directory / entry.name, missing_ok=True)
    moves.disk.remove_dir(directory)
