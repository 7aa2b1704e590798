"""The directory of a run: what a command is given, and where it may leave something.

The claimed file lies under the id of its arrival, in a place that is nobody's business; the command gets it under its own name,
as a second link to the same file. The directory is made after the claim and removed after its end; a crash leaves one that no
claim speaks of, and ``Returns.all`` removes it. Everything blocks.
"""

from __future__ import annotations

import os
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
from sftpgate.runners.reports import opened
from sftpgate.store.spots import Spot

log = get_logger("runner")


class RunDirectory:
    """The directory of one run of ``arrival``, whether it exists or not.

    No arrival's name begins with a dot, so nothing of ours in it can have the file's own name.
    """

    def __init__(self, moves: Moves, run: str, arrival: Arrival) -> None:
        self._moves = moves
        self._arrival = arrival
        self._name = arrival.path.rpartition("/")[2]
        self.spot = moves.layout.runs / run
        self._output = self.spot / ".output"
        self._tryback = self.spot / f".tryback{split_suffix(self._name)[1]}"
        self._result = self.spot / ".result.json"

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

    def ensure(self) -> None:
        """Make the directory where it is missing, without the file. The store's group may read in it, if it may in the store."""
        if not self._moves.disk.is_dir(self.spot):
            modes = self._moves.modes
            self._moves.disk.make_dir(self.spot, 0o700 | modes.dir_mode & 0o050, modes.gid)

    def prepare(self) -> None:
        """Make the directory, with the claimed file in it, and an empty file each for rejected lines and for the result.

        Those are there beforehand because a command that runs as another user may write to them, and not make them.
        """
        self.ensure()
        for spot in (self._tryback, self._result):
            self._make_empty(spot)
        source = self._moves.layout.spot(location(Area.CLAIMS, self._arrival.id))
        target = self.spot / self._name
        try:
            self._moves.disk.link(source, target)
        except AlreadyExists:
            pass
        except CrossDevice:
            self._moves.disk.copy(source, target, self._moves.modes.file_mode)

    def _make_empty(self, spot: Spot) -> None:
        modes = self._moves.modes
        fd = self._moves.disk.create(spot, 0o600)
        try:
            self._moves.disk.set_mode(fd, 0o660 if modes.file_mode & 0o040 else 0o600, modes.gid)
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
