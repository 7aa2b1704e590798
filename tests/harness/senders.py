"""Senders without a network: their uploads go through the parts that the gateway uses, in this process."""

from __future__ import annotations

from datetime import UTC, datetime

from sftpgate.errors import SftpgateError
from sftpgate.ledger.arrivals import Arrival
from sftpgate.site import Site
from sftpgate.uploads.publisher import Publisher
from sftpgate.uploads.terms import Sender, SessionTrace
from sftpgate.uploads.upload import Upload


def make_sender(
    user: str = "erp",
    home: str = "",
    *,
    address: str = "192.0.2.7",
    login: str = "password",
    client: str = "SSH-2.0-x",
    session: str | None = None,
) -> Sender:
    """Make a user's session; one of its own unless ``session`` names it."""
    session = f"{datetime.now(UTC):%H%M%S%f}" if session is None else session
    return Sender(user=user, home=home, address=address, login=login, client=client, session=session)


def begin(site: Site, sender: Sender, path: str, content: bytes = b"", *, writes: int = 1) -> Upload:
    """Open an upload, with ``content`` in it, in ``writes`` writes of one length."""
    upload = site.staging.create(sender, path, SessionTrace())
    step = len(content) // writes
    for number in range(writes if content else 0):
        upload.write(site.disk, number * step, content[number * step : (number + 1) * step])
    return upload


def publish(site: Site, upload: Upload) -> Arrival:
    """Close an upload. Raises what the client would be told."""
    [outcome] = Publisher(site.resources, site.journal, site.placer, site.staging).commit([upload])
    if isinstance(outcome, SftpgateError):
        raise outcome
    return outcome


class Senders:
    """The senders of one site."""

    def __init__(self, site: Site) -> None:
        self.system = site

    def send(self, user: str, path: str, content: bytes, *, client: str = "SSH-2.0-OpenSSH_9.2", writes: int = 1) -> Arrival:
        """Send a file whole, in ``writes`` writes of one length."""
        sender = make_sender(user, login="SHA256:abc", client=client)
        arrival = publish(self.system, begin(self.system, sender, path, content, writes=writes))
        self.system.journal.flush()
        return arrival

    def interrupt(self, user: str, path: str, content: bytes) -> None:
        """Send a file without a CLOSE."""
        self.system.staging.interrupt(begin(self.system, make_sender(user), path, content))
