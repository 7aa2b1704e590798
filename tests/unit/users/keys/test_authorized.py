from __future__ import annotations

import base64
import struct
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import KeyRefused, SftpgateError, UserFileError
from sftpgate.users.keys.authorized import check_strength, parse_authorized_keys, parse_line, parse_public_key
from sftpgate.users.keys.changes import limited

MIN_RSA_BITS = 2048

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAVWxv6FAC8Eq2F806owPHNmPZ2d5eQBsJA+l7tPstwE"
# fixed, because making them needs a security token and an old OpenSSH
SK_ED25519 = (
    "sk-ssh-ed25519@openssh.com "
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIIeaHBv9jTtDEDC4GCG2tOhxjsCsX37cLXTiqrV0W1pCAAAABHNzaDo="
)
SK_ECDSA = (
    "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBH5H0groDHEY"
    "wr08zLsRqPraX7kuGyy39fUiM/zKUzo/Z7vpwBYgMYk5IetSzNO9aoE62IEXLf5L3tbwieqQxAgAAAAEc3NoOg=="
)
DSA = (
    "ssh-dss AAAAB3NzaC1kc3MAAACBALDPA30gPplooQywvYFu0C9V153MsJq/l0OPlcVIB2HHpfyI1WYDcjTk43cGVVsEl0Rpn+TutIHGJzIDSq4cSQT"
    "bGYRhmUrkwwuqD/V1ZFDQj9X3SQNX5MdRhBs+RMY3O4P5EdbAnROF2YXi2g6XAyLdOr6S+sFfND87vkj50EDDAAAAFQCfCZa01pg4EroOX2hGb0FJPE"
    "TYywAAAIAayj8VlSqsuR2XZaCkKe3k7NyUuW5i8WtGQkeEF9GRmsiXlThb1F/ikcJUw0PMSVBvOePiH2p8PmzHeY64TL98gx0ZKrZpcF7qHhDnxn5Gz"
    "Hkgx/Ne3NF/6rj+MyYUbA9+twZWkz0Ncpw8glh6/XWEsw0YwgFxZulPjMoAj+zxIQAAAIBOJejY24tc1JEZyrArj6Faiu6b4PlAZ3p+NaFIfrA/KAd4"
    "izB8AT3jVSh/y0ZU+JH1/lfZfwSoHGRVVjT+b5coMgIYxA8gEfWP6gV93YaceJOqmljcagrdkOe3WRdOz4a/3L+PUcpT1A3AU+dlhvXwAPECmMUtp7F"
    "X66S771sEAQ=="
)


def ssh_string(data: bytes) -> bytes:
    """A length-prefixed string."""
    return struct.pack(">I", len(data)) + data


def generated(directory: Path, *arguments: str) -> Path:
    """The public key file of a pair that ssh-keygen makes."""
    path = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "made for a test", "-f", str(path), *arguments], check=True)
    return path.with_suffix(".pub")


def listed(path: Path) -> list[str]:
    """Length and fingerprint, as ``ssh-keygen -l`` shows them."""
    return subprocess.run(["ssh-keygen", "-l", "-f", str(path)], check=True, capture_output=True, text=True).stdout.split()[:2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "ed25519"),
        ("-t", "ecdsa", "-b", "256"),
        ("-t", "ecdsa", "-b", "384"),
        ("-t", "ecdsa", "-b", "521"),
        ("-t", "rsa", "-b", "2048"),
        ("-t", "rsa", "-b", "3072"),
    ],
    ids="-".join,
)
def test_agrees_with_ssh_keygen(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A good key of every kind is accepted, with the length, fingerprint and label that ssh-keygen shows."""
    path = generated(tmp_path, *arguments)
    key = parse_public_key(path.read_text())
    check_strength(key, MIN_RSA_BITS)
    assert [str(key.bits), key.fingerprint] == listed(path)
    assert key.comment == "made for a test"
    assert parse_authorized_keys(path.read_text()) == [key]


@pytest.mark.parametrize("line", [SK_ED25519, SK_ECDSA], ids=["ed25519", "ecdsa"])
def test_keys_in_hardware(line: str, tmp_path: Path) -> None:
    """Keys of security tokens are accepted, with the length and fingerprint that ssh-keygen shows."""
    path = tmp_path / "sk.pub"
    path.write_text(line + "\n")
    key = parse_public_key(line)
    check_strength(key, MIN_RSA_BITS)
    assert [str(key.bits), key.fingerprint] == listed(path)


def test_short_rsa_is_refused_by_name(tmp_path: Path) -> None:
    """An RSA key that is too short is refused with its length, the limit, and the rule."""
    path = generated(tmp_path, "-t", "rsa", "-b", "1024")
    key = parse_public_key(path.read_text())
    assert [str(key.bits), key.fingerprint] == listed(path)
    with pytest.raises(KeyRefused, match=r"1024 bits.*2048.*min_rsa_bits"):
        check_strength(key, MIN_RSA_BITS)
    check_strength(key, 1024)


def test_dsa_is_refused_by_name() -> None:
    """A DSA key is refused as what it is."""
    with pytest.raises(KeyRefused, match="DSA"):
        check_strength(parse_public_key(DSA), MIN_RSA_BITS)


def test_unknown_types_are_refused_by_name() -> None:
    """A key of a type that nobody knows is parsed, and refused by its name."""
    blob = base64.b64encode(ssh_string(b"ssh-future@example.org") + ssh_string(b"x")).decode()
    with pytest.raises(KeyRefused, match=r"ssh-future@example\.org"):
        check_strength(parse_public_key(f"ssh-future@example.org {blob}"), MIN_RSA_BITS)


def test_options_are_read_as_openssh_reads_them() -> None:
    """Quotes may hold commas, blanks and escaped quotes; names have no letter case; the rest of the line is the label."""
    options = 'restrict,FROM="192.0.2.0/24,!192.0.2.7",command="echo \\"a, b\\"  #c",expiry-time="20300131Z"'
    line = f'{options} {KEY}  my  "label, one" # no comment'
    key = parse_line(line)
    assert key is not None
    assert key.line == line
    assert key.options == (
        ("restrict", None),
        ("from", "192.0.2.0/24,!192.0.2.7"),
        ("command", 'echo "a, b"  #c'),
        ("expiry-time", "20300131Z"),
    )
    assert key.from_patterns == ("192.0.2.0/24", "!192.0.2.7")
    assert key.expires_at == datetime(2030, 1, 31, tzinfo=UTC)
    assert key.comment == 'my  "label, one" # no comment'
    assert not key.cert_authority


def test_certificate_authorities() -> None:
    """A cert-authority line is known as one, with its principals."""
    key = parse_line(f'cert-authority,principals="erp,erp-test" {KEY} the authority')
    assert key is not None
    assert key.cert_authority
    assert key.principals == ("erp", "erp-test")


def test_comments_and_blank_lines_are_no_keys() -> None:
    """Empty lines, blanks and comments are passed over, also in a file from Windows."""
    text = f"# keys\r\n\r\n  \t\n{KEY} one\r\n\t{SK_ED25519} two\n  # {KEY}\n"
    assert [key.comment for key in parse_authorized_keys(text)] == ["one", "two"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20300131Z", datetime(2030, 1, 31, tzinfo=UTC)),
        ("203001311415Z", datetime(2030, 1, 31, 14, 15, tzinfo=UTC)),
        ("20300131141516Z", datetime(2030, 1, 31, 14, 15, 16, tzinfo=UTC)),
        ("203001311415", datetime(2030, 1, 31, 14, 15).astimezone(UTC)),
    ],
)
def test_forms_of_expiry(value: str, expected: datetime) -> None:
    """All forms of expiry-time are read, with Z as UTC and without as the server's local time, as OpenSSH does."""
    key = parse_line(f'expiry-time="{value}" {KEY}')
    assert key is not None
    assert key.expires_at == expected


def test_the_earliest_expiry_holds() -> None:
    """Of several expiry times the earliest holds, as in OpenSSH."""
    key = parse_line(f'expiry-time="20310101Z",expiry-time="20300101Z" {KEY}')
    assert key is not None
    assert key.expires_at == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f'form="10.0.0.0/8" {KEY}', "did you mean from"),
        (f"from=10.0.0.0/8 {KEY}", "double quotes"),
        (f"from {KEY}", "needs a value"),
        (f'from="" {KEY}', "empty"),
        (f'from="10.0.0.1/8" {KEY}', "bits set"),
        (f'from="10.0.0.0/8",from="*" {KEY}', "twice"),
        (f'principals="" {KEY}', "empty"),
        (f'restrict="yes" {KEY}', "takes no value"),
        (f'expiry-time="tomorrow" {KEY}', "YYYYMMDD"),
        (f'expiry-time="" {KEY}', "YYYYMMDD"),
        (f'expiry-time="20301301" {KEY}', "no date"),
        (f'command="open {KEY}', "quote"),
        (f"restrict, {KEY}", "options cannot be read"),
        (KEY[:-8], "cut off|not base64"),
        (KEY.replace("AAAAC3", "AAAA%3"), "not base64"),
        (KEY.replace("ssh-ed25519", "ssh-rsa"), "another type"),
        ("ssh-ed25519", "no key in this line"),
        (f"ssh-ed25519-cert-v01@openssh.com {KEY.split()[1]}", "certificate"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_line_number(line: str, words: str) -> None:
    """A line that cannot be understood is an error that says what is wrong and where, and never a key without its limits."""
    with pytest.raises(UserFileError, match=rf"line 2: .*({words})"):
        parse_authorized_keys(f"# first\n{line}\n")


def test_a_point_off_its_curve_is_refused() -> None:
    """A key whose numbers make no key is refused when it is added."""
    blob = ssh_string(b"ecdsa-sha2-nistp256") + ssh_string(b"nistp256") + ssh_string(b"\x04" + b"\x01" * 64)
    with pytest.raises(KeyRefused, match="no key"):
        parse_public_key(f"ecdsa-sha2-nistp256 {base64.b64encode(blob).decode()}")


def test_limits_are_added_to_those_that_a_key_has() -> None:
    """A label, an expiry and addresses given on the command line join the options that the key came with."""
    key = limited(
        parse_public_key(f'restrict,command="a \\"b\\"" {KEY} old'),
        label="new one",
        expires=date(2030, 1, 31),
        from_patterns=["192.0.2.0/24", "!192.0.2.7"],
    )
    assert key.line == f'restrict,command="a \\"b\\"",from="192.0.2.0/24,!192.0.2.7",expiry-time="20300131Z" {KEY} new one'
    assert parse_authorized_keys(key.line) == [key]


@pytest.mark.parametrize("label", ["two\nlines", "bell\a", "\u2028"])
def test_labels_are_one_line(label: str) -> None:
    """A label that would be a second line of authorized_keys, or would paint the terminal, is refused."""
    with pytest.raises(KeyRefused, match="label"):
        limited(parse_public_key(KEY), label=label)


@pytest.mark.parametrize("pattern", ["", "!", 'a"b', "a b", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "a,b"])
def test_bad_address_patterns_are_refused(pattern: str) -> None:
    """An address pattern that could not be written or could never match is refused."""
    with pytest.raises(KeyRefused, match="pattern"):
        limited(parse_public_key(KEY), from_patterns=[pattern])


def test_a_second_from_is_refused() -> None:
    """Addresses are not added to a key that has a from= option: which of them held would be a guess."""
    with pytest.raises(KeyRefused, match="from="):
        limited(parse_public_key(f'from="10.0.0.0/8" {KEY}'), from_patterns=["192.0.2.1"])


PIECES = st.sampled_from(
    [KEY, SK_ED25519, "from=", "expiry-time=", "restrict", '"', "\\", ",", " ", "\t", "\n", "\r", "=", "20300101Z", "#"]
)
WILD = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=12).map("".join))


@given(WILD)
def test_any_text_gives_keys_or_our_error(text: str) -> None:
    """Whatever is in the file, the parsers return keys or raise an error of ours."""
    for parse in (parse_authorized_keys, parse_public_key):
        try:
            parse(text)
        except SftpgateError as error:
            assert error.message.isprintable()
