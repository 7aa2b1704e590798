"""When an upload is whole: families of clients, and what their writes, their words and the content say."""

from __future__ import annotations

import pytest

from sftpgate.policy.clients import CAREFUL, FAMILIES, LONGEST_OFFERED_WRITE, OPENSSH, THROUGH_OPENSSH, Family, family_of
from sftpgate.policy.evidence import Grade, Signs, WriteTrace, has_usual_size, judged, said
from sftpgate.policy.formats import NOTHING, FormatFinding, Wholeness
from sftpgate.policy.texts import TextEnd

BY_NAME = {family.name.partition(" ")[0]: family for family in FAMILIES}
PARAMIKO, RCLONE, LIBSSH2, PUTTY, ASYNCSSH = (BY_NAME[name] for name in ("paramiko", "rclone", "libssh2", "PuTTY", "asyncssh"))


def trace(*writes: int, declared: int | None = None, existing: int = 0, stated: bool = False, longest: int = 0) -> WriteTrace:
    """An upload of writes in order. ``longest``: of an earlier upload of the session."""
    own = max(writes, default=0)
    return WriteTrace(
        size=existing + sum(writes),
        declared_size=declared,
        writes=len(writes),
        last_write_bytes=writes[-1] if writes else 0,
        longest_write_bytes=max(own, longest),
        short_writes=sum(length < own for length in writes),
        existing_bytes=existing,
        stated=stated,
    )


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("line", "asked", "expected"),
    [
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10", True, OPENSSH),
        ("SSH-2.0-OpenSSH_for_Windows_9.5", True, OPENSSH),
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10", False, THROUGH_OPENSSH),
        ("SSH-2.0-rclone/v1.66", False, RCLONE),
        ("SSH-2.0-paramiko_5.1.0", False, PARAMIKO),
        ("SSH-2.0-AsyncSSH_2.24.1", True, ASYNCSSH),
        ("SSH-2.0-libssh2_1.10.0 PHP", False, LIBSSH2),
        ("SSH-2.0-PuTTY_Release_0.78", False, PUTTY),
        ("SSH-2.0-JSCH-0.1.54", False, BY_NAME["JSch"]),
        ("SSH-2.0-JSCH_0.2.16", False, BY_NAME["JSch"]),
        ("SSH-2.0-phpseclib_3.0 (libsodium, openssl)", False, BY_NAME["phpseclib"]),
        ("SSH-2.0-Ruby/Net::SSH_7.0.1 x86_64-linux-gnu", False, BY_NAME["Net::SSH"]),
        ("SSH-2.0-ssh2js1.17.0", False, BY_NAME["ssh2"]),
        ("SSH-2.0-Go", False, BY_NAME["Go"]),
        ("SSH-2.0-WinSCP_release_6.3", True, CAREFUL),
        ("SSH-1.99-Something", False, CAREFUL),
        ("", False, CAREFUL),
    ],
)
def test_families(line: str, asked: bool, expected: Family) -> None:
    """The version line names the family; OpenSSH's own programs are told from those that run its ssh by what they ask for."""
    assert family_of(line, asked_limits=asked) is expected


@pytest.mark.promise("P1")
def test_the_offered_write_is_a_prime() -> None:
    """A complete file is hardly ever a multiple of the write that is offered, and OpenSSH takes that as it is."""
    assert LONGEST_OFFERED_WRITE <= 261_120
    assert all(LONGEST_OFFERED_WRITE % divisor for divisor in range(2, 512))


S, P = Grade.SUSPECT, Grade.PLAUSIBLE
FULL = LONGEST_OFFERED_WRITE


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("family", "found", "ending", "before", "expected"),
    [
        # OpenSSH: full writes only are an interrupted upload, however the text ends; anything else is the end of a file
        (OPENSSH, trace(FULL, FULL), TextEnd.LINE, None, S),
        (OPENSSH, trace(FULL), TextEnd.LINE, None, S),
        (OPENSSH, trace(FULL, 19), TextEnd.INSIDE_LINE, None, P),
        (OPENSSH, trace(20_000), TextEnd.INSIDE_LINE, None, P),
        (OPENSSH, trace(32_768), TextEnd.INSIDE_LINE, None, P),
        (OPENSSH, trace(FULL, 19), TextEnd.RAGGED, None, P),
        (OPENSSH, trace(32_768, 32_768), TextEnd.LINE, None, S),  # sftp -B 32768
        (OPENSSH, trace(32_768, 32_768, 5), TextEnd.INSIDE_LINE, None, P),
        (THROUGH_OPENSSH, trace(32_768, 32_768), TextEnd.LINE, None, S),
        (THROUGH_OPENSSH, trace(32_768, 5_088), TextEnd.INSIDE_LINE, None, P),
        # libraries: the same, and what an application writes
        (PARAMIKO, trace(32_768), TextEnd.LINE, None, S),
        (PARAMIKO, trace(32_768, 32_768), TextEnd.NO_TEXT, None, S),
        (PARAMIKO, trace(20_000), TextEnd.INSIDE_LINE, None, P),
        (PARAMIKO, trace(32_768, 7_000), TextEnd.RAGGED, None, P),  # a line with a total, say
        (PARAMIKO, trace(5_000, 5_000), TextEnd.RAGGED, None, S),
        (PARAMIKO, trace(5_000, 5_000), TextEnd.RAGGED, False, P),
        (PARAMIKO, trace(5_000, 5_000), TextEnd.INSIDE_LINE, None, S),
        (PARAMIKO, trace(5_000, 5_000), TextEnd.LINE, None, S),
        (PARAMIKO, trace(5_000, 5_000), TextEnd.NO_TEXT, None, S),
        (PARAMIKO, trace(5_000, 5_000, 4_000), TextEnd.NO_TEXT, None, P),
        (PARAMIKO, trace(5_000, 4_000, 5_000), TextEnd.LINE, None, P),  # an application's own writes
        (PARAMIKO, trace(5_000, 5_000, existing=7), TextEnd.LINE, None, P),
        (OPENSSH, trace(1_000, 1_000), TextEnd.LINE, None, S),  # sftp -B 1000
        (OPENSSH, trace(1_000, 1_000, 999), TextEnd.LINE, None, P),
        (PARAMIKO, trace(100, 100, 100), TextEnd.INSIDE_LINE, None, P),
        (RCLONE, trace(32_768, 32_768), TextEnd.INSIDE_LINE, None, P),
        (PUTTY, trace(4096, 4096), TextEnd.LINE, None, S),
        (PUTTY, trace(4096, 3616), TextEnd.INSIDE_LINE, None, P),
        # curl's buffer of 64 KiB comes in writes of three lengths
        (LIBSSH2, trace(30_000, 30_000, 5_536), TextEnd.LINE, None, S),
        (LIBSSH2, trace(30_000, 30_000, 5_536, 30_000), TextEnd.LINE, None, S),
        (LIBSSH2, trace(30_000, 30_000, 5_536, 8_528), TextEnd.INSIDE_LINE, None, P),
        (LIBSSH2, trace(20_000), TextEnd.INSIDE_LINE, None, P),
        # nobody knows
        (CAREFUL, trace(30_000, 30_000), TextEnd.NO_TEXT, None, S),
        (CAREFUL, trace(8_192, 8_192, 8_192), TextEnd.LINE, None, S),
        (CAREFUL, trace(32_768), TextEnd.LINE, None, S),
        (CAREFUL, trace(20_000), TextEnd.LINE, None, P),
        (CAREFUL, trace(20_000), TextEnd.NO_TEXT, None, P),
        (CAREFUL, trace(20_000), TextEnd.INSIDE_LINE, None, S),
        (CAREFUL, trace(20_000), TextEnd.INSIDE_LINE, True, S),
        (CAREFUL, trace(20_000), TextEnd.INSIDE_LINE, False, P),
        (CAREFUL, trace(20_000, longest=32_768), TextEnd.INSIDE_LINE, None, P),
        (CAREFUL, trace(20_000, 20_000, 11), TextEnd.RAGGED, None, S),
        (CAREFUL, trace(9_999, 6_385), TextEnd.LINE, None, S),  # 16 KiB
        (CAREFUL, trace(100), TextEnd.INSIDE_LINE, None, P),
        # nothing came
        (CAREFUL, trace(), TextEnd.LINE, None, P),
        (CAREFUL, trace(existing=9), TextEnd.LINE, None, S),
    ],
)
def test_the_way_of_the_bytes(family: Family, found: WriteTrace, ending: TextEnd, before: bool | None, expected: Grade) -> None:
    """What may be cut between two writes is doubted; where that is open, how the text ends decides, and how it used to."""
    assert judged(found, family, NOTHING, Signs(ending=ending, ended_before=before)).grade is expected


@pytest.mark.promise("P1")
def test_equal_writes_that_are_lines() -> None:
    """An application that writes lines of one length, or some lines at a time, is not taken for one that was interrupted."""
    lines = Signs(ending=TextEnd.LINE, pieces_are_lines=True)
    assert judged(trace(5_000, 5_000), PARAMIKO, NOTHING, lines).grade is P
    assert judged(trace(32_768, 32_768), PARAMIKO, NOTHING, lines).grade is S, "its own full write"


DAYS = [(65_536, "a"), (65_536, "b"), (65_536, "c")]


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("size", "earlier", "ends_line", "expected"),
    [
        (65_536, DAYS, False, True),
        (65_536, DAYS[:2], False, False),
        (65_536, [*DAYS[:2], (65_536, "a")], False, False),  # the same file again tells nothing new
        (32_768, DAYS, True, False),
        (98_304, DAYS, True, False),
        (3_276_800, [(3_276_000 + day, str(day)) for day in range(3)], True, True),
        (3_276_800, [(3_276_000 + day, str(day)) for day in range(3)], False, False),
        (3_276_800, [(3_200_000 + day, str(day)) for day in range(3)], True, False),
        (0, [], True, False),
    ],
)
def test_usual_sizes(size: int, earlier: list[tuple[int, str]], ends_line: bool, expected: bool) -> None:
    """A file of full writes that has its path's usual size is believed: the very one, or nearly, and a line's end by choice."""
    assert has_usual_size(size, earlier, ends_line=ends_line) is expected
    signs = Signs(is_usual=expected)
    assert judged(trace(32_768, 32_768), PARAMIKO, NOTHING, signs).grade is (P if expected else S)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_content_decides_before_the_way(family: Family) -> None:
    """A format that carries its own end is proof either way, whoever sent it and however."""
    for found in (trace(FULL, FULL), trace(20_000), trace()):
        whole, cut = (judged(found, family, FormatFinding(told, "gzip")) for told in (Wholeness.WHOLE, Wholeness.CUT))
        assert (whole.grade, cut.grade) == (Grade.PROVEN, Grade.SUSPECT)
        assert "gzip" in str(whole.why) and "gzip" in str(cut.why)


@pytest.mark.promise("P1")
def test_what_the_client_says() -> None:
    """A declared size is proof either way. A size that is stated at the end is one of those who state it only then."""
    assert said(trace(9), OPENSSH) is None
    equal, other = said(trace(9, declared=9), CAREFUL), said(trace(9, declared=10), RCLONE)
    assert equal is not None and equal.grade is Grade.PROVEN
    assert other is not None and other.grade is Grade.SUSPECT and "10 bytes" in str(other.why)
    stated = trace(32_768, 32_768, stated=True)
    lftp = said(stated, THROUGH_OPENSSH)
    assert lftp is not None and lftp.grade is Grade.PROVEN
    assert said(stated, OPENSSH) is None, "sftp states how far it came when a resumed upload is interrupted"
