"""Chat, by Apprise, which knows more than a hundred services: ``pip install sftpgate[chat]``.

Apprise says whether a service took a message, and no more. It asks services over HTTP in its own way: our checks of addresses are
not in it, so a chat's URL is the administrator's word.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sftpgate.ledger.outbox.messages import Message
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.settings.notify import ReceiverSettings
from sftpgate.upkeep.notifications.ways.way import on_one_line
from sftpgate.upkeep.notifications.wording import Reader, words_of

if TYPE_CHECKING:
    import apprise  # optional

MISSING = "chat needs Apprise: pip install sftpgate[chat]"


class Chat:
    """One receiver that is a chat."""

    def __init__(self, settings: ReceiverSettings, reader: Reader) -> None:
        assert settings.chat is not None
        self._url = settings.chat.get_secret_value()
        self._timeout = settings.timeout
        self._reader = reader

    async def deliver(self, message: Message) -> Attempt:
        """Say it once."""
        words = words_of(message, self._reader)
        try:
            async with asyncio.timeout(self._timeout):
                service = await asyncio.to_thread(_service_at, self._url)
                if service is None:
                    return Attempt(verdict=Verdict.AWAY, said="Apprise does not know this URL: see its list of services")
                taken = await service.async_notify(body=words.text, title=words.subject)
        except TimeoutError:
            return Attempt(verdict=Verdict.AWAY, said=f"no answer within {self._timeout:g} s")
        except ImportError:
            return Attempt(verdict=Verdict.AWAY, said=MISSING)
        except Exception as error:  # noqa: BLE001 - more than a hundred services, whose errors nobody knows
            return Attempt(verdict=Verdict.AWAY, said=on_one_line(f"{type(error).__name__}: {error}", self._url))
        if taken:
            return Attempt(verdict=Verdict.SENT, said="taken")
        return Attempt(verdict=Verdict.LATER, said="the service did not take it; Apprise does not say why")

    async def close(self) -> None:
        """Nothing is kept open."""


def _service_at(url: str) -> apprise.Apprise | None:
    """Return what speaks to the service at ``url``; None if there is none. Takes a second at first: it reads all its services."""
    import logging

    import apprise

    logging.getLogger("apprise").disabled = True  # it says what it does with the URL, and a part of that is a secret
    service = apprise.Apprise()
    return service if service.add(url) else None
