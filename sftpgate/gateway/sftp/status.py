"""What a client is told about each error: one total table, and no other place (promise P7).

A status and a sentence that names the rule. No path of the local disk: errors marked ``local`` become a general
sentence, with the time at which the log has the details. Versions 3 and 4 of SFTP know few codes, so the sentence
carries the meaning there.
"""

from __future__ import annotations

from enum import IntEnum

from sftpgate import errors
from sftpgate.errors import SftpgateError


class Status(IntEnum):
    """Status codes of SFTP: 0 to 8 of version 3, the rest of versions 4 to 6 (filexfer-13 §9.1)."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8
    INVALID_HANDLE = 9
    NO_SUCH_PATH = 10
    FILE_ALREADY_EXISTS = 11
    WRITE_PROTECT = 12
    NO_SPACE_ON_FILESYSTEM = 14
    QUOTA_EXCEEDED = 15
    DIR_NOT_EMPTY = 18
    NOT_A_DIRECTORY = 19
    INVALID_FILENAME = 20
    FILE_IS_A_DIRECTORY = 24


# The first version that knows a code; a client of an older one gets the fallback.
_SINCE = {
    Status.INVALID_HANDLE: (4, Status.FAILURE),
    Status.NO_SUCH_PATH: (4, Status.NO_SUCH_FILE),
    Status.FILE_ALREADY_EXISTS: (4, Status.FAILURE),
    Status.WRITE_PROTECT: (4, Status.PERMISSION_DENIED),
    Status.NO_SPACE_ON_FILESYSTEM: (5, Status.FAILURE),
    Status.QUOTA_EXCEEDED: (5, Status.FAILURE),
    Status.DIR_NOT_EMPTY: (6, Status.FAILURE),
    Status.NOT_A_DIRECTORY: (6, Status.FAILURE),
    Status.INVALID_FILENAME: (6, Status.PERMISSION_DENIED),
    Status.FILE_IS_A_DIRECTORY: (6, Status.FAILURE),
}

# Another fallback than that of its code: clients of version 3 tell a file from a directory by it, as OpenSSH's server answers.
_FALLBACKS: tuple[tuple[type[SftpgateError], Status], ...] = ((errors.PathIsAFile, Status.NO_SUCH_FILE),)

# Nearest class first: an error has the status of the first class here that it is an instance of.
_TABLE: tuple[tuple[type[SftpgateError], Status], ...] = (
    (errors.NoSuchFile, Status.NO_SUCH_FILE),
    (errors.AlreadyExists, Status.FILE_ALREADY_EXISTS),
    (errors.IsADirectory, Status.FILE_IS_A_DIRECTORY),
    (errors.NotADirectory, Status.NOT_A_DIRECTORY),
    (errors.DirectoryNotEmpty, Status.DIR_NOT_EMPTY),
    (errors.NameRefused, Status.INVALID_FILENAME),
    (errors.PlaceRefused, Status.PERMISSION_DENIED),
    (errors.LinkRefused, Status.OP_UNSUPPORTED),
    (errors.Unsupported, Status.OP_UNSUPPORTED),
    (errors.TooLarge, Status.QUOTA_EXCEEDED),
    (errors.QuotaExceeded, Status.QUOTA_EXCEEDED),
    (errors.OwnedByAnother, Status.PERMISSION_DENIED),
    (errors.TooMany, Status.FAILURE),
    (errors.TooScattered, Status.FAILURE),
    (errors.ShuttingDown, Status.FAILURE),
    (errors.ConsumerReading, Status.FAILURE),
    (errors.NotAsAgreed, Status.FAILURE),
    (errors.Refused, Status.PERMISSION_DENIED),
    (errors.NotFound, Status.NO_SUCH_FILE),
    (errors.NoSpace, Status.NO_SPACE_ON_FILESYSTEM),
    (errors.LedgerFull, Status.NO_SPACE_ON_FILESYSTEM),
    (errors.ReadOnlyStorage, Status.WRITE_PROTECT),
    (errors.BadMessage, Status.BAD_MESSAGE),
    (errors.InvalidHandle, Status.INVALID_HANDLE),
    (SftpgateError, Status.FAILURE),
)

GENERAL_FAILURE = "the server could not do this; its log has the details. Try again later"


def status_of(error: Exception, sftp_version: int) -> tuple[Status, str]:
    """Return the code and the sentence for a client that speaks ``sftp_version``. Any exception has one."""
    if not isinstance(error, SftpgateError):
        return Status.FAILURE, GENERAL_FAILURE
    code = next(status for kind, status in _TABLE if isinstance(error, kind))
    since, fallback = _SINCE.get(code, (3, code))
    fallback = next((status for kind, status in _FALLBACKS if isinstance(error, kind)), fallback)
    return (code if sftp_version >= since else fallback), (GENERAL_FAILURE if error.local else error.message)
