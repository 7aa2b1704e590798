"""A message in words, for people: its subject and lines, in their language, as plain text and as quiet HTML.

Senders read about their own files only, and nothing of the inside of the platform (``policy.disclosure``): no addresses, no local
paths, nobody else's name. Text that came from clients is data: control characters are escaped, and HTML is escaped whole.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from sftpgate.ledger.outbox.messages import Content, Message
from sftpgate.logs import printable
from sftpgate.policy.checks import HeldFile, check_of
from sftpgate.policy.disclosure import public_text
from sftpgate.policy.event_texts import label, told
from sftpgate.policy.lifecycle import HoldReason
from sftpgate.policy.notification_rules import Happened, kinds_of
from sftpgate.settings.choices import Language

_MAX_VALUE = 500  # characters of a line: a path has at most 4096 bytes, and its end says little
_MAX_SUBJECT = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads: in which language and time zone, and whether it is the sender of the files. ``gate``: what messages call it."""

    language: Language
    zone: tzinfo
    gate: str
    is_sender: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A message for a reader. ``lines`` are sentences, with an empty label, and values under a label."""

    subject: str
    lines: tuple[tuple[str, str], ...]
    footer: str

    @property
    def text(self) -> str:
        """Return it as plain text."""
        width = max((len(name) for name, _ in self.lines if name), default=0)
        body = (f"{name + ':':<{width + 1}} {value}" if name else f"\n{value}\n" for name, value in self.lines)
        return "\n".join(body).strip() + f"\n\n-- \n{self.footer}\n"

    @property
    def html(self) -> str:
        """Return it as HTML: a table, no pictures, nothing from elsewhere."""
        return (
            '<!doctype html><html><head><meta charset="utf-8"></head>'
            '<body style="font-family:sans-serif;font-size:14px;color:#222;background:#fff">'
            f'<table style="border-collapse:collapse">{"".join(map(_as_row, self.lines))}</table>'
            f'<p style="color:#777;font-size:12px">{html.escape(self.footer)}</p></body></html>'
        )


def words_of(message: Message, reader: Reader) -> Words:
    """Return what a message says to ``reader``."""
    content = message.content
    lines = tuple(_about_one(content.events[0], reader)) if content.total == 1 else tuple(_about_many(content, reader))
    first = lines[0][1]
    footer = label("footer", reader.language, gate=reader.gate)
    return Words(subject=f"[{reader.gate}] {first}"[:_MAX_SUBJECT], lines=lines, footer=footer)


def sentence_of(happened: Happened, reader: Reader) -> str:
    """Return one sentence that says what happened."""
    kind = kinds_of(happened.event, happened.details)[-1]
    values = {**happened.details, "file": happened.path, "tool": happened.tool, "user": happened.user}
    return _shown(told(kind, reader.language, _for_reader(values, reader)), reader)


def _about_one(happened: Happened, reader: Reader) -> Iterator[tuple[str, str]]:
    language = reader.language
    yield "", sentence_of(happened, reader)
    values = {
        "file": happened.path,
        "sender": "" if reader.is_sender else happened.user,
        "tool": happened.tool,
        "size": "" if happened.size is None else label("bytes", language, count=happened.size),
        "time": _time(happened.at, reader),
        "arrival": happened.arrival,
        "by": "" if reader.is_sender else happened.actor,
    }
    yield from ((label(name, language), _shown(value, reader)) for name, value in values.items() if value)
    yield from _hold(happened, reader)
    for name in ("report", "rejected", "error"):
        if (value := happened.details.get(name)) not in (None, ""):
            yield label(name, language) if name != "error" else label("why", language), _shown(str(value), reader)


def _hold(happened: Happened, reader: Reader) -> Iterator[tuple[str, str]]:
    """Yield why a file is held, and what to do."""
    reason = happened.details.get("reason")
    if happened.details.get("state") != "held" or reason not in tuple(HoldReason):
        return
    check, language = check_of(HoldReason(str(reason))), reader.language
    held = HeldFile(name=happened.path.rpartition("/")[2], detail=str(happened.details.get("detail") or ""))
    because, to_do = check.for_sender(held)
    yield label("reason", language), check.called.in_language(language)
    yield label("why", language), _shown(because.in_language(language), reader)
    if held.detail and check.reason is HoldReason.CONTRACT:
        yield label("why", language), _shown(held.detail, reader)
    yield label("next", language), _shown(to_do.in_language(language) if reader.is_sender else check.for_admin, reader)


def _about_many(content: Content, reader: Reader) -> Iterator[tuple[str, str]]:
    language = reader.language
    yield "", label("several", language, count=content.total)
    yield from ((kind, str(count)) for kind, count in sorted(content.counts.items()))
    yield "", ""
    for happened in content.events:
        yield _time(happened.at, reader), sentence_of(happened, reader)
    if (more := content.total - len(content.events)) > 0:
        yield "", label("more", language, count=more)


def _for_reader(values: Mapping[str, object], reader: Reader) -> dict[str, object]:
    hidden = ("address", "actor", "user") if reader.is_sender else ()
    return {name: printable(str(value)) for name, value in values.items() if value is not None and name not in hidden}


def _shown(text: str, reader: Reader) -> str:
    line = printable(text[:_MAX_VALUE])
    return public_text(line) if reader.is_sender else line


def _time(at: datetime, reader: Reader) -> str:
    return f"{at.astimezone(reader.zone):%Y-%m-%d %H:%M:%S %Z}"


def _as_row(line: tuple[str, str]) -> str:
    name, value = (html.escape(part) for part in line)
    if not name:
        return f'<tr><td colspan="2" style="padding:8px 0">{value}</td></tr>'
    cell = '<td style="padding:2px 12px 2px 0;vertical-align:top'
    return f'<tr>{cell};color:#777">{name}</td>{cell}">{value}</td></tr>'
