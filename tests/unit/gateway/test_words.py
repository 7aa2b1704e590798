"""The words of the gateway: status and sentence of each error, long names, algorithms, and packets."""

from __future__ import annotations

import inspect
import stat
import struct

import pytest
from asyncssh import SFTPAttrs
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_default_kex_algs, get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_public_key_algs
from hypothesis import given
from hypothesis import strategies as st

from sftpgate import errors
from sftpgate.errors import SftpgateError
from sftpgate.gateway.algorithms import added_by_legacy, offer
from sftpgate.gateway.longname import longname
from sftpgate.gateway.status import GENERAL_FAILURE, Status, status_of
from sftpgate.gateway.view import times_of
from sftpgate.gateway.wire import Open, Reply, Request, body_of, open_flags_of_v5, packet, split_write, status, version
from sftpgate.settings import Algorithms

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SftpgateError)]
LAST_CODE = {3: 8, 4: 13, 5: 17, 6: 31}  # the highest status that each version of the drafts knows


def made(kind: type[SftpgateError]) -> SftpgateError:
    """An error of a class, whatever its arguments are."""
    parameters = list(inspect.signature(kind).parameters.values())
    if kind.__init__ is SftpgateError.__init__:
        return kind()
    return kind(*("x" if "str" in str(each.annotation) else 7 for each in parameters))  # type: ignore[arg-type]  # any of both


@pytest.mark.parametrize("version_number", [3, 4, 5, 6])
@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_status(kind: type[SftpgateError], version_number: int) -> None:
    """P7: each error of ours has a code that the client's version knows, and a sentence."""
    code, message = status_of(made(kind), version_number)
    assert Status.EOF < code <= LAST_CODE[version_number]
    assert message and message.isprintable()


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
    """P7, trap: an exception that is none of ours is a general failure, and none of its words reach the client."""
    assert status_of(error, version_number) == (Status.FAILURE, GENERAL_FAILURE)


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind.local])
def test_words_for_the_local_admin_stay_local(kind: type[SftpgateError]) -> None:
    """P7: what is for the local admin only becomes a general sentence."""
    assert status_of(kind("open /var/lib/sftpgate/x failed"), 3) == (status_of(kind(), 3)[0], GENERAL_FAILURE)


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
    """P7: an older client gets the nearest code that its version has."""
    assert tuple(status_of(error, number)[0] for number in (3, 4, 5, 6)) == codes


# -- long names --------------------------------------------------------------------------------------------------------


def test_long_names_have_fixed_columns() -> None:
    """P5: the columns of a long name are where ``ls -l`` has them, whatever the file is."""
    attrs = SFTPAttrs(permissions=stat.S_IFREG | 0o640, size=2**40, mtime=0)
    assert longname("a b.csv", attrs, "erp") == b"-rw-r-----    1 erp      erp      1099511627776 Jan  1  1970 a b.csv"
    assert longname("é", SFTPAttrs(), "erp").decode().endswith("Jan  1  1970 é")
    assert len(longname("x", attrs, "a-very-long-user-name").split()) == 9


# -- packets -----------------------------------------------------------------------------------------------------------


@given(
    handle=st.binary(max_size=300), offset=st.integers(0, 2**64 - 1), content=st.binary(max_size=300), rest=st.binary(max_size=20)
)
def test_writes_are_split(handle: bytes, offset: int, content: bytes, rest: bytes) -> None:
    """Trap: a WRITE is split into its fields, whatever is left behind them."""
    body = struct.pack(">BII", Request.WRITE, 7, len(handle)) + handle + struct.pack(">QI", offset, len(content)) + content + rest
    for cut in (9, len(body) // 2, len(body)):
        found = split_write([memoryview(body[: max(cut, 9)]), memoryview(body[max(cut, 9) :])])
        assert (found[0], found[1], b"".join(found[2])) == (handle, offset, content)


@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_refused(body: bytes) -> None:
    """P1: bytes that are no WRITE raise struct.error and nothing else."""
    try:
        _, _, content = split_write([memoryview(body)])
    except struct.error:
        return
    assert len(content) <= len(body)


def test_replies_have_their_length() -> None:
    """A reply begins with its length, its type and the number of its request."""
    reply = status(7, Status.FAILURE, "é")
    assert struct.unpack_from(">IBI", reply) == (len(reply) - 4, Reply.STATUS, 7)
    fields = body_of(reply[9:])
    assert (fields.get_uint32(), fields.get_string().decode(), fields.get_string()) == (4, "é", b"en")
    assert packet(Reply.DATA, 1, b"ab", b"c") == b"\0\0\0\x08\x67\0\0\0\1abc"


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_the_version_packet(number: int) -> None:
    """P6: each version offers its extensions, and none that makes links."""
    fields = body_of(version(number)[5:])
    assert fields.get_uint32() == number
    names = []
    while fields:
        names.append(fields.get_string())
        fields.get_string()
    assert b"posix-rename@openssh.com" in names and not [name for name in names if b"link" in name]
    assert (b"supported2" in names) is (number == 6) and (b"supported" in names) is (number == 5)


@pytest.mark.parametrize(
    ("access", "flags", "expected"),
    [
        (1, 2, Open.READ),
        (2, 1, Open.WRITE | Open.CREAT | Open.TRUNC),
        (2, 0, Open.WRITE | Open.CREAT | Open.EXCL),
        (3, 3, Open.READ | Open.WRITE | Open.CREAT),
        (2, 4, Open.WRITE | Open.TRUNC),
        (4, 3, Open.WRITE | Open.APPEND | Open.CREAT),
        (2, 3 | 0x08, Open.WRITE | Open.APPEND | Open.CREAT),
        (2, 3 | 0x10, Open.WRITE | Open.APPEND | Open.CREAT),
        (0, 2, Open(0)),
        (0, 7, Open(0)),
    ],
)
def test_flags_of_version_5(access: int, flags: int, expected: Open) -> None:
    """P5: access and disposition of versions 5 and 6 mean the flags of version 3."""
    assert open_flags_of_v5(access, flags) == expected


def test_times_of_a_request() -> None:
    """P5: a request without times sets none; with one of both it keeps the other; they are in nanoseconds."""
    now = (30, 40)
    assert times_of(SFTPAttrs(permissions=0o600), now) is None
    assert times_of(SFTPAttrs(atime=1, mtime=2), now) == (1_000_000_000, 2_000_000_000)
    assert times_of(SFTPAttrs(atime=1, atime_ns=5, mtime=2, mtime_ns=6), now) == (1_000_000_005, 2_000_000_006)
    assert times_of(SFTPAttrs(atime=1), now) == (1_000_000_000, 40)
    assert times_of(SFTPAttrs(mtime=2), now) == (30, 2_000_000_000)


# -- algorithms and admission ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(Algorithms))
def test_algorithms_exist(profile: Algorithms) -> None:
    """Every algorithm that a profile names is one that the library has."""
    found = offer(profile)
    assert {name.encode() for name in found.encryption_algs} <= set(get_encryption_algs())
    assert {name.encode() for name in found.mac_algs} <= set(get_mac_algs())
    assert {name.encode() for name in found.kex_algs} <= set(get_kex_algs()) | set(get_default_kex_algs())
    assert {name.encode() for name in found.signature_algs} <= set(get_public_key_algs())


def test_profiles_differ_as_they_say() -> None:
    """P6: the default has no CBC and no SHA-1 but in MACs, hardened no SHA-1 and no NIST curve, and legacy only adds."""
    default, hardened, legacy = offer(Algorithms.DEFAULT), offer(Algorithms.HARDENED), offer(Algorithms.LEGACY)
    assert not [name for name in default.kex_algs + default.signature_algs if "sha1" in name or name == "ssh-rsa"]
    assert not [name for name in default.encryption_algs if "cbc" in name]
    everything = hardened.kex_algs + hardened.encryption_algs + hardened.mac_algs + hardened.signature_algs
    assert not [name for name in everything if "sha1" in name or "nistp" in name or "cbc" in name]
    assert legacy.kex_algs[: len(default.kex_algs)] == default.kex_algs
    assert {"ssh-rsa", "aes256-cbc", "diffie-hellman-group14-sha1"} <= set(added_by_legacy())
