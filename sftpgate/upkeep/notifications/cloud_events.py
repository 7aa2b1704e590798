"""A message as JSON for programs: a CloudEvent in its structured form (CloudEvents 1.0.2, "JSON Event Format" 1.0).

``id`` is the id of the message, which never changes; ``type`` its kind below ``sftpgate.``; ``source`` the gate; ``subject`` the
arrival, if it is about one. ``data`` has the events, their counts, and a sentence for people in each language.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sftpgate.ledger.outbox.messages import Message
from sftpgate.policy.notification_rules import Happened, kinds_of
from sftpgate.settings.choices import Language
from sftpgate.upkeep.notifications.wording import Reader, sentence_of

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
MAX_BYTES = 256 * 1024  # of a body; events beyond it are counted, and not listed


def body_of(message: Message, source: str, gate: str) -> bytes:
    """Return the body that every attempt sends: the same bytes each time."""
    events = list(message.content.events)
    while True:
        body = json.dumps(_event(message, events, source, gate), separators=(",", ":")).encode()
        if len(body) <= MAX_BYTES or not events:
            return body
        events = events[: len(events) // 2]


def _event(message: Message, events: list[Happened], source: str, gate: str) -> dict[str, object]:
    content = message.content
    arrivals = {event.arrival for event in content.events if event.arrival}
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": message.id,
        "source": source,
        "type": f"sftpgate.{message.kind}",
        "time": _time(content.events[0].at if content.events else message.created_at),
        "datacontenttype": "application/json",
    }
    if content.total == 1 and arrivals:
        attributes["subject"] = arrivals.pop()
    data = {"total": content.total, "counts": dict(content.counts), "events": [_data(event, gate) for event in events]}
    return {**attributes, "data": data}


def _data(happened: Happened, gate: str) -> dict[str, object]:
    facts = {
        "seq": happened.seq,
        "event": happened.event,
        "kind": kinds_of(happened.event, happened.details)[-1],
        "time": _time(happened.at),
        "actor": happened.actor or None,
        "user": happened.user or None,
        "tool": happened.tool or None,
        "arrival": happened.arrival or None,
        "path": happened.path or None,
        "size": happened.size,
        "details": dict(happened.details),
    }
    text = {language.value: sentence_of(happened, Reader(language=language, zone=UTC, gate=gate)) for language in Language}
    return {name: value for name, value in facts.items() if value is not None} | {"text": text}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
