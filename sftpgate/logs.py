"""Structured logs: ``noun.verb`` events, one canonical line per session, upload, run and sweep.

On a terminal the lines are for people, elsewhere they are JSON, one object per line on stderr. Text that came from a
client is data: it is only ever a value, and control characters in it are escaped (JSON does it; for the terminal
``printable`` does).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, TextIO

import structlog

Logger = structlog.stdlib.BoundLogger


def printable(text: str) -> str:
    """``text`` with every control character, line separator and unpaired surrogate shown as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def _escape_values(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: _lines(str(value)) if key == "exception" else _escaped(value) for key, value in event.items()}


def _escaped(value: object) -> object:
    """``value`` with all text in it made printable, in lists and tables too."""
    match value:
        case str():
            return printable(value)
        case None | int() | float():
            return value
        case Mapping():
            return {printable(str(key)): _escaped(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_escaped(inner) for inner in value]
        case _:
            return value


def _lines(text: str) -> str:
    """A traceback, whose lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def _add_worker(number: int, _logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["worker"] = number
    return event


def configure(level: str = "info", *, stream: TextIO | None = None, worker: int = 0) -> None:
    """Send all logs to ``stream`` (stderr by default), as lines for people on a terminal and as JSON elsewhere. The lines of
    a worker process carry its number.
    """
    out = stream or sys.stderr
    renderer: structlog.typing.Processor
    if out.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *([partial(_add_worker, worker)] if worker else []),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _escape_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> Logger:
    """A logger whose lines carry ``name`` as ``component``."""
    logger: Logger = structlog.get_logger(component=name)
    return logger
