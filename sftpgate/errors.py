"""Every error that sftpgate raises on purpose.

One tree, rooted at :class:`SftpgateError`. A class's docstring is its default message. Details are fields; a message is
built from them once, here. ``temporary`` says whether the same act may succeed later without anybody changing anything;
``exit_code`` is what the command line returns (documented in ``docs/exit-codes.md``). What an SFTP client is told about
each class is decided in ``gateway/sftp/status.py`` and nowhere else.

Messages may be read by an ERP's admin: they never contain a path of the local disk unless the class says that it is for
the local admin (``local = True``); those become a general sentence for the client.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2  # click's own
    NOTHING_TO_DO = 3
    TOOL_FAILED = 4
    NOT_FOUND = 5
    REFUSED = 6
    TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
    BAD_SETTINGS = 78  # EX_CONFIG of sysexits.h


class SftpgateError(Exception):
    """Something went wrong."""

    temporary: ClassVar[bool] = False
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    local: ClassVar[bool] = False  # the message is for the local admin only

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])

    @property
    def message(self) -> str:
        """One line that says what is wrong and, if there is one, what to do."""
        return str(self)


# -- settings and set-up ---------------------------------------------------------------------------------------------


class SettingsError(SftpgateError):
    """The settings are not usable."""

    exit_code = ExitCode.BAD_SETTINGS
    local = True


class IdentityError(SftpgateError):
    """The store, the drop and the ledger do not belong together."""

    exit_code = ExitCode.BAD_SETTINGS
    local = True


# -- refusals: a rule says no ----------------------------------------------------------------------------------------


class Refused(SftpgateError):
    """A rule refuses this. The message names the rule."""

    exit_code = ExitCode.REFUSED


class NotAsAgreed(Refused):
    """The file is not what its tool expects. It was received, and is held."""


class NameRefused(Refused):
    """This name cannot be stored."""


class PlaceRefused(Refused):
    """Nothing can be written here: only the drop is writable."""


class HomeTaken(PlaceRefused):
    """A file has the name of this account's directory: the administrators must move it (rule: an account has a directory)."""


class HomeIsLock(PlaceRefused):
    """This account's directory has the name of a batch lock: the administrators must rename it (rule: a batch lock is a file)."""


class ForeignLock(Refused):
    """An administrator put this batch lock here and removes it: send one to have yours (rule: a batch lock is its sender's)."""


class LinkRefused(Refused):
    """Links are not supported here: symbolic and hard links are refused."""


class LinkedFile(LinkRefused):
    """The file has other names (hard links), and could be changed by them at any time: put a copy of it here (rule: no links)."""


class FileExchanged(Refused):
    """Another program put something else in the place of this file while it was taken: it is looked at again later."""

    temporary = True


class ConsumerReading(Refused):
    """The batch tool is reading at this moment: its files cannot be changed or removed until it has finished. Try again then."""

    temporary = True
    exit_code = ExitCode.TRY_AGAIN


class OwnedByAnother(Refused):
    """A file of this name from another sender is still waiting to be processed: choose another name or try again later."""

    temporary = True


class TooLarge(Refused):
    """The file is larger than this server accepts."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the file is larger than the limit of {limit_bytes} bytes for one upload (rule: max_upload_bytes)")
        self.limit_bytes = limit_bytes


class QuotaExceeded(Refused):
    """This account's quota is used up."""


class TooMany(Refused):
    """Too many of these are open at once."""

    temporary = True


class TooScattered(Refused):
    """The pieces of the file came in an order that leaves too many gaps at a time."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"the pieces of the file came in an order that leaves more than {most} gaps at a time "
            "(rule: a file is written from its beginning to its end, or nearly so)"
        )


class AppendRefused(Refused):
    """What is in the file already would be changed (rule: an append goes to the end)."""


class SharedUpload(Refused):
    """Another handle of this account has a part of the same file."""

    def __init__(self) -> None:
        super().__init__(
            "another handle of this account has this file open, or had it, to write a part of it: send the whole file again by "
            "one handle when the others are closed (rule: one handle writes a whole file)"
        )


class TakenMeanwhile(Refused):
    """A tool took the file, or another session changed it, while this one did: send what is new again, as a file of its own."""


class ShuttingDown(Refused):
    """The server is being restarted: try again in a moment."""

    temporary = True


class Unsupported(Refused):
    """This operation is not supported by this server."""


class BadMessage(SftpgateError):
    """The request is not well formed."""


class InvalidHandle(SftpgateError):
    """There is no open file or directory with this handle."""


# -- what is or is not there -----------------------------------------------------------------------------------------


class NotFound(SftpgateError):
    """There is no such thing."""

    exit_code = ExitCode.NOT_FOUND


class NoSuchFile(NotFound):
    """No such file or directory."""


class AlreadyExists(SftpgateError):
    """There is already something of this name."""


class IsADirectory(SftpgateError):
    """This is a directory, not a file."""


class NotADirectory(SftpgateError):
    """This is not a directory."""


class PathIsAFile(NotADirectory):
    """This is a file, and the request is for a directory."""


class DirectoryNotEmpty(SftpgateError):
    """The directory is not empty."""


# -- uploads and the hand-over ---------------------------------------------------------------------------------------


class UploadFailed(SftpgateError):
    """An earlier write of this upload failed, so nothing of it was taken: send the file again."""


class UploadIncomplete(SftpgateError):
    """Part of the file was never written: nothing of it was taken. Send the file again or resume it."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(
            f"the bytes from {start} to {end} were never written (rule: an upload must have no gap): nothing of it was taken"
        )
        self.start = start
        self.end = end


class IllegalTransition(SftpgateError):
    """This cannot happen to an arrival in its present state."""

    exit_code = ExitCode.REFUSED

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"an arrival that is {state} cannot be {event}")
        self.state = state
        self.event = event


# -- disk and ledger -------------------------------------------------------------------------------------------------


class StorageError(SftpgateError):
    """The disk refused an operation."""

    temporary = True
    exit_code = ExitCode.TRY_AGAIN
    local = True


class NoSpace(StorageError):
    """The server's disk is full: nothing of this was taken. Try again later, or tell its administrator (rule: disk space)."""

    local = False


class ReadOnlyStorage(StorageError):
    """The server's storage is read-only at the moment: try again later (rule: storage that can be written)."""

    local = False


class StoreAway(StorageError):
    """The server's storage is not there at the moment: nothing is taken or changed. Try again later (rule: its own store)."""

    local = False


class CrossDevice(StorageError):
    """The two places are on different filesystems."""


class StoreBusy(SftpgateError):
    """Another process has the store's lock: nothing was changed. Try again in a minute."""

    temporary = True
    exit_code = ExitCode.TRY_AGAIN

    def __init__(self, waited_seconds: float, holder: str = "") -> None:
        super().__init__(
            "the server's store is busy, and nothing was changed: try again in a minute "
            f"(rule: a change waits {waited_seconds:.0f} s for its turn)"
        )
        self.holder = holder  # which process has it, for the local admin


class LedgerError(SftpgateError):
    """The ledger refused an operation."""

    temporary = True
    exit_code = ExitCode.TRY_AGAIN
    local = True


class LedgerFull(LedgerError):
    """The disk of the server's records is full: nothing of this was taken. Try again later (rule: disk space)."""

    local = False


class FollowerMoved(LedgerError):
    """Another process has read the record on under this follower's name: what this one did is not recorded."""


class UnknownFollower(NotFound):
    """Nobody follows the record under this name."""


# -- users and keys --------------------------------------------------------------------------------------------------


class UnknownUser(NotFound):
    """There is no user of this name."""


class UserFileError(SftpgateError):
    """A user's files in the keys directory cannot be used."""

    exit_code = ExitCode.BAD_SETTINGS
    local = True


class KeyRefused(Refused):
    """This key cannot be used."""


class HostKeyError(SftpgateError):
    """A host key cannot be used."""

    exit_code = ExitCode.BAD_SETTINGS
    local = True


# -- runners ---------------------------------------------------------------------------------------------------------


class UnknownTool(NotFound):
    """There is no tool of this name in the settings."""


class UnknownArrival(NotFound):
    """There is no arrival with this id."""


class ClaimLost(SftpgateError):
    """This claim is no longer held: it expired, was released, or never existed."""

    exit_code = ExitCode.NOT_FOUND


def only_error(group: BaseExceptionGroup[BaseException], kind: type[SftpgateError]) -> BaseException:
    """Return the first error of a group that has errors of ``kind`` and no others; else the group. In the place of an
    ``except*`` that raises: what that raises is in a group again on Python 3.11.2, and not on 3.11.7.
    """
    matching, rest = group.split(kind)
    if matching is None or rest is not None:
        return group
    found: BaseException = matching
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
