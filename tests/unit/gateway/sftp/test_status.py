"""Status and sentence of each error, by the version of SFTP."""

from __future__ import annotations

import inspect

import pytest

from sftpgate import errors
from sftpgate.errors import SftpgateError
from sftpgate.gateway.sftp.status import GENERAL_FAILURE, Status, status_of

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SftpgateError)]
LAST_CODE = {3: 8, 4: 13, 5: 17, 6: 31}  # the highest status that each version of the drafts knows


def made(kind: type[SftpgateError]) -> SftpgateError:
    """An error of a class, whatever its arguments are."""
    parameters = list(inspect.signature(kind).parameters.values())
    if kind.__init__ is SftpgateError.__init__:
        return kind()
    return kind(*("x" if "str" in str(each.annotation) else 7 for each in parameters))  # type: ignore[arg-type]  # any of both


@pytest.mark.promise("P7")
@pytest.mark.parametrize("version_number", [3, 4, 5, 6])
@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_status(kind: type[SftpgateError], version_number: int) -> None:
    """Each error of ours has a code that the client's version knows, and a sentence."""
    code, message = status_of(made(kind), version_number)
    assert Status.EOF < code <= LAST_CODE[version_number]
    assert message and message.isprintable()


@pytest.mark.promise("P7")
@pytest.mark.parametrize("version_number", [3, 6])
@pytest.mark.parametrize(
    "error",
    [
        OSError(2, "No such file", "/var/lib/secret"),
        ValueError("/etc/passwd"),
        KeyError("x"),
        RuntimeError(),
        AssertionError("x"),
    ],
)
def test_other_exceptions_say_nothing(error: Exception, version_number: int) -> None:
    """Trap: an exception that is none of ours is a general failure, and none of its words reach the client."""
    assert status_of(error, version_number) == (Status.FAILURE, GENERAL_FAILURE)


@pytest.mark.promise("P7")
@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind.local])
def test_words_for_the_local_admin_stay_local(kind: type[SftpgateError]) -> None:
    """What is for the local admin only becomes a general sentence."""
    assert status_of(kind("open /var/lib/sftpgate/x failed"), 3) == (status_of(kind(), 3)[0], GENERAL_FAILURE)


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("error", "codes"),
    [
        (errors.NoSuchFile(), (2, 2, 2, 2)),
        (errors.AlreadyExists(), (4, 11, 11, 11)),
        (errors.PlaceRefused(), (3, 3, 3, 3)),
        (errors.NameRefused(), (3, 3, 3, 20)),
        (errors.LinkRefused(), (8, 8, 8, 8)),
        (errors.DirectoryNotEmpty(), (4, 4, 4, 18)),
        (errors.IsADirectory(), (4, 4, 4, 24)),
        (errors.NotADirectory(), (4, 4, 4, 19)),
        (errors.PathIsAFile(), (2, 2, 2, 19)),
        (errors.NoSpace(), (4, 4, 14, 14)),
        (errors.ReadOnlyStorage(), (3, 12, 12, 12)),
        (errors.TooLarge(7), (4, 4, 15, 15)),
        (errors.InvalidHandle(), (4, 9, 9, 9)),
        (errors.BadMessage(), (5, 5, 5, 5)),
        (errors.LedgerError("x"), (4, 4, 4, 4)),
        (errors.LedgerFull(), (4, 4, 14, 14)),
    ],
)
def test_codes_by_version(error: SftpgateError, codes: tuple[int, ...]) -> None:
    """An older client gets the nearest code that its version has."""
    assert tuple(status_of(error, number)[0] for number in (3, 4, 5, 6)) == codes
