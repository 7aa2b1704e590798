"""What each way out is for the one who delivers, and what is said of an attempt."""

from __future__ import annotations

from typing import Protocol

from sftpgate.ledger.outbox.messages import Message
from sftpgate.logs import printable
from sftpgate.policy.deliveries import Attempt

_MAX_SAID = 300  # characters of what a receiver said


class Way(Protocol):
    """Delivers messages to one lane."""

    async def deliver(self, message: Message) -> Attempt:
        """Try once; return how it ended. Raises nothing but a cancellation, and takes no longer than its settings say."""

    async def close(self) -> None:
        """End what is kept open between messages."""


def on_one_line(text: str, *secrets: str) -> str:
    """Return what was said, short, on one line, and without the secrets that it may repeat."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[...]")
    return printable(" ".join(text.split())[:_MAX_SAID])
