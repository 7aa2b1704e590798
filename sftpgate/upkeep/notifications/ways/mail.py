"""Mail: one message to one address, through the mail server of the settings.

A mail keeps its ``Message-ID`` over all attempts, so that a server or a reader that gets it twice knows it. If the server does
not answer after the content, nobody knows whether it has it: it is sent again. An address that is refused for good (5xx) is
given up at once; a server that is away, or refuses our login, makes all mail wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as LINES
from email.utils import format_datetime

import aiosmtplib

from sftpgate.ids import Clock
from sftpgate.ledger.outbox.messages import Message
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.regular_files import read_regular
from sftpgate.settings.notify import SENDERS, MailSettings
from sftpgate.upkeep.notifications.audience import USER, Receiver, SenderOf
from sftpgate.upkeep.notifications.ways.way import on_one_line
from sftpgate.upkeep.notifications.wording import Reader, words_of

_MAX_PASSWORD_BYTES = 4096


class Mail:
    """The mail server. One connection for each mail: they are few, and a server that hangs keeps one of them only."""

    def __init__(
        self,
        settings: MailSettings,
        receivers: Mapping[str, Receiver],
        *,
        reader_of: Callable[[Receiver], Reader],
        sender_of: SenderOf,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._receivers = receivers
        self._reader_of = reader_of
        self._sender_of = sender_of
        self._clock = clock

    async def deliver(self, message: Message) -> Attempt:
        """Send it once."""
        addressed = self._addressed(message)
        if addressed is None:
            return Attempt(verdict=Verdict.REFUSED, said="nobody in the settings has this address any more")
        address, reader = addressed
        mail = self._written(message, address, reader)
        secret = ""
        try:
            secret = self._password()
            async with asyncio.timeout(self._settings.timeout):
                return await self._send(mail, address, secret)
        except TimeoutError:
            return Attempt(verdict=Verdict.AWAY, said=f"the mail server did not answer within {self._settings.timeout:g} s")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Attempt(verdict=Verdict.AWAY, said=on_one_line(_why(error), secret))

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _send(self, mail: EmailMessage, address: str, password: str) -> Attempt:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            timeout=settings.timeout,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            tls_context=None if settings.security == "none" else ssl.create_default_context(cafile=settings.ca_file),
        )
        try:
            await client.connect()
            if settings.user:
                await client.login(settings.user, password)
            try:
                _, said = await client.sendmail(settings.sender, [address], mail.as_bytes(policy=LINES))
            except aiosmtplib.SMTPRecipientsRefused as error:
                return _of_reply(error.recipients[0].code, error.recipients[0].message)
            except aiosmtplib.SMTPResponseException as error:
                return _of_reply(error.code, error.message)
            return Attempt(verdict=Verdict.SENT, said=on_one_line(str(said)))
        finally:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                client.close()

    def _addressed(self, message: Message) -> tuple[str, Reader] | None:
        """Return the address of a message as the settings have it now, and who reads there; None if nobody does."""
        receiver = self._receivers.get(message.receiver)
        if receiver is None:
            return None
        reader = self._reader_of(receiver)
        if message.receiver == SENDERS:
            found = self._sender_of(message.recipient.removeprefix(USER))
            return None if found is None else (found.address, replace(reader, language=found.language, is_sender=True))
        return (message.recipient, reader) if message.recipient in receiver.recipients else None

    def _written(self, message: Message, address: str, reader: Reader) -> EmailMessage:
        words = words_of(message, reader)
        mail = EmailMessage(policy=LINES)
        sender = self._settings.sender
        mail["From"] = Address(display_name=reader.gate, addr_spec=sender)
        mail["To"] = Address(addr_spec=address)
        mail["Subject"] = words.subject
        mail["Date"] = format_datetime(message.created_at)
        mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation program answers it
        mail.set_content(words.text)
        mail.add_alternative(words.html, subtype="html")
        mail["Content-Language"] = reader.language.value
        return mail

    def _password(self) -> str:
        file = self._settings.password_file
        if file is None:
            return self._settings.password.get_secret_value()
        return read_regular(file, _MAX_PASSWORD_BYTES).decode().strip()


def _of_reply(code: int, text: str) -> Attempt:
    """Return what a server's answer about a mail means (RFC 5321, 4.2.1)."""
    is_final = 500 <= code < 600 and code not in (530, 534, 535, 538)  # those are about our login
    verdict = Verdict.REFUSED if is_final else Verdict.LATER
    return Attempt(verdict=verdict, said=on_one_line(f"{code} {text}"))


def _why(error: BaseException) -> str:
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return f"the mail server refuses the login: {error.code} {error.message}"
        case aiosmtplib.SMTPResponseException():
            return f"{error.code} {error.message}"
        case OSError() if error.filename:
            return f"{error.filename}: cannot be read: {error.strerror}"
        case _:
            return f"{error}" or type(error).__name__
