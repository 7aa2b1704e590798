"""Which requests come from pages of other sites."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from sftpgate.web.forgery import is_forged

HOST = {"host": "gate.example.org"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_is_let_through(method: str) -> None:
    """A link on another site leads to our pages."""
    assert not is_forged(method, Headers({**HOST, "sec-fetch-site": "cross-site", "cookie": "a=b"}), "https")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin", "origin": "null", "cookie": "a=b"},
        {"origin": "https://gate.example.org", "cookie": "a=b"},
        {"origin": "https://GATE.example.org:443", "cookie": "a=b"},
        {},  # a program with a token
    ],
)
def test_our_own_pages_and_programs_are_let_through(headers: dict[str, str]) -> None:
    """Forms of ours, from new browsers and old ones, and requests of programs without cookies."""
    assert not is_forged("POST", Headers({**HOST, **headers}), "https")


def test_a_proxy_that_takes_tls_off_makes_no_difference() -> None:
    """Behind such a proxy the scheme is http, and the page's origin https."""
    assert not is_forged("POST", Headers({**HOST, "origin": "https://gate.example.org"}), "http")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": ""},
        {"sec-fetch-site": "cross-site", "origin": "https://gate.example.org"},
        {"origin": "https://elsewhere.example.org"},
        {"origin": "https://gate.example.org:8443"},
        {"origin": "https://gate.example.org.elsewhere.net"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://[::1"},
        {"origin": "https://gate.example.org:port"},
        {"cookie": "session=1"},  # a browser's login, and nothing that says where from
    ],
)
def test_pages_of_others_are_refused(method: str, headers: dict[str, str]) -> None:
    """Whatever another page, a page of a sibling site, or one without an origin makes a browser send."""
    assert is_forged(method, Headers({**HOST, **headers}), "https")
