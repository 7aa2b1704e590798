"""Texts in another encoding than the tool's: which are converted, and which are left alone."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.contracts.conversion import converted
from sftpgate.contracts.judge import judge
from sftpgate.settings.contracts import ContractSettings

TEXT = "uid;name\r\nu1;Zoé\r\nu2;Œuvre €\r\n"
UTF8 = TEXT.encode()


def contract(**more: Any) -> ContractSettings:
    """A contract that converts."""
    return ContractSettings.model_validate({"header": ["uid", "name"], "key": ["uid"], "convert": True} | more)


@pytest.mark.parametrize(
    ("content", "rules", "source", "expected"),
    [
        (TEXT.encode("cp1252"), {}, "cp1252", UTF8),
        (TEXT.encode("utf-16"), {}, "utf-16", UTF8),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), {}, "utf-16", UTF8),
        (b"\xef\xbb\xbf" + UTF8, {}, "utf-8", UTF8),
        (UTF8, {"encoding": "cp1252"}, "utf-8", TEXT.encode("cp1252")),
        (TEXT.encode("utf-16"), {"encoding": "cp1252"}, "utf-16", TEXT.encode("cp1252")),
        (TEXT.replace("€", "¤").replace("Œ", "O").encode("latin-1"), {"convert_from": "latin-1"}, "latin-1", None),
        (UTF8, {}, None, None),
        (b"\xef\xbb\xbf" + UTF8, {"bom": True}, None, None),
        (b"uid;name\nu1;a\n", {"encoding": "cp1252"}, None, None),
        (TEXT.encode("utf-16-le"), {}, None, None),  # without a mark it can be anything
        (TEXT.encode("cp1252") + b"\x81", {}, None, None),  # no letter of cp1252
        (TEXT.encode("cp1252") + b"\0", {}, None, None),
        ("uid;name\nu1;\u0142\n".encode(), {"encoding": "cp1252"}, None, None),  # cp1252 has no such letter
        (b"", {}, None, None),
    ],
)
def test_a_text(content: bytes, rules: dict[str, Any], source: str | None, expected: bytes | None) -> None:
    """What a text is in is told by its bytes and by the contract, and nothing else; the rest is left alone."""
    into = io.BytesIO()
    assert converted(io.BytesIO(content), contract(**rules), into) == source
    if expected is not None:
        assert into.getvalue() == expected


def test_a_verdict() -> None:
    """A converted file is judged as what it was converted to; the verdict says what it was."""
    found = judge(io.BytesIO(TEXT.encode("cp1252")), contract())
    assert found.is_good and found.rows == 2 and found.converted_from == "cp1252"
    assert found.converted_sha256 == judge(io.BytesIO(UTF8), contract()).sha256 != found.sha256
    without = judge(io.BytesIO(TEXT.encode("cp1252")), contract(convert=False))
    assert [each.code for each in without.objections] == ["text.encoding"] and not without.converted_from


def test_a_text_of_two_encodings() -> None:
    """A text that is UTF-8 here and cp1252 there is converted to no text that anybody wrote: that is found."""
    found = judge(io.BytesIO("uid;name\nu1;Zoé\n".encode() + "u2;Zoé\n".encode("cp1252")), contract())
    assert "text.mangled" in [each.code for each in found.objections]


@given(
    st.text(st.characters(codec="cp1252", exclude_characters="\0")), st.sampled_from(["cp1252", "utf-8", "utf-16", "utf-8-sig"])
)
def test_any_text(text: str, encoding: str) -> None:
    """Whatever is converted says the same afterwards."""
    into = io.BytesIO()
    content = text.encode(encoding)
    if converted(io.BytesIO(content), contract(), into) is not None:
        assert encoding != "cp1252" or into.getvalue().decode() == content.decode("cp1252")
        assert encoding == "cp1252" or into.getvalue().decode() == text
