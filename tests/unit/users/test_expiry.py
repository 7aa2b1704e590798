from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sftpgate.gateway.expiry_warnings import warn_of_expiry
from sftpgate.gateway.ssh.algorithms import offer
from sftpgate.ledger.database.connection import Ledger
from sftpgate.settings.choices import Algorithms
from sftpgate.users.expiry import about_to_expire
from sftpgate.users.keys.authorized import AuthorizedKey, parse_public_key
from sftpgate.users.keys.changes import expiring
from sftpgate.users.keys.terms import KeyTerms
from sftpgate.users.registry import User, UserRegistry
from tests.harness.credentials import make_key

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WITHIN = 14 * DAY
TERMS = KeyTerms(min_rsa_bits=2048, signature_algs=offer(Algorithms.DEFAULT).signature_algs, revoked=frozenset())


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[AuthorizedKey]:
    """Two keys that do not end."""
    directory = tmp_path_factory.mktemp("keys")
    return [parse_public_key(make_key(directory / name).line) for name in ("one", "two")]


def told(*users: User) -> list[tuple[str, str | None, bool]]:
    """What ends, of whom, and whether it has."""
    found = about_to_expire(users, now=NOW, within=WITHIN, terms=TERMS)
    return [(expiry.user, expiry.fingerprint, expiry.expired) for expiry in found]


def test_what_ends_soon(keys: list[AuthorizedKey]) -> None:
    """A key or user that ends within the time is told, one that ends later or never is not."""
    soon, later = expiring(keys[0], NOW + 13 * DAY), expiring(keys[1], NOW + 15 * DAY)
    assert told(User(name="a", keys=(soon, later))) == [("a", soon.fingerprint, False)]
    assert told(User(name="a", keys=(later,), expires_at=NOW + DAY)) == [("a", None, False)]
    assert told(User(name="a", keys=tuple(keys))) == []
    assert told(User(name="a", keys=(soon,), disabled=True)) == []


def test_what_has_ended(keys: list[AuthorizedKey]) -> None:
    """An expired key is told while its user has nothing else to log in with."""
    gone = expiring(keys[0], NOW)
    assert told(User(name="a", keys=(gone,))) == [("a", gone.fingerprint, True)]
    assert told(User(name="a", keys=(gone, keys[1]))) == []
    assert told(User(name="a", keys=(gone,), password_hash="x")) == []
    assert told(User(name="a", keys=(gone,), expires_at=NOW)) == [("a", None, True)]


def test_the_log_is_told_once_a_day(keys: list[AuthorizedKey], tmp_path: Path) -> None:
    """However many processes look, and however often, a key that ends is warned of once a day."""
    registry = UserRegistry(tmp_path / "keys")
    registry.add("erp", keys=[replace(expiring(keys[0], NOW + DAY))])
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    ledger.create()
    with capture_logs() as lines:
        for now in (NOW, NOW, NOW + DAY / 4, NOW + DAY, NOW + DAY):
            warn_of_expiry(ledger, registry, now=now, within=WITHIN, terms=TERMS)
    ledger.close()
    assert [(line["event"], line["user"], line["expired"]) for line in lines] == [
        ("key.expires", "erp", False),
        ("key.expires", "erp", True),
    ]
