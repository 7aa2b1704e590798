"""Structured logs: ``noun.verb`` events, one canonical line per session, upload, run and sweep.

On a terminal the lines are for people, elsewhere they are JSON, one object per line on stderr. Text that came from a
client is data: it is only ever a value, and control characters in it are escaped (JSON does it; for the terminal
``printable`` does).

Most commands log nothing. So structlog, which takes a seventh of the time of a command to import, is imported by the first line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    import structlog

    Logger = structlog.stdlib.BoundLogger
else:
    Logger = object

_waiting: list[Callable[[], None]] = []  # how to configure structlog, until it is imported


def printable(text: str) -> str:
    """Return ``text`` with every control character, line separator and unpaired surrogate shown as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def quoted(path: str) -> str:
    """Return a path, in quotes if a reader could not see what is in it."""
    return path if path.isprintable() and path == path.strip() and "\\" not in path and "  " not in path else f'"{path}"'


def _escape_values(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: _lines(str(value)) if key == "exception" else _escaped(value) for key, value in event.items()}


def _escaped(value: object) -> object:
    """Return ``value`` with all text in it made printable, in lists and tables too."""
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
    """Return a traceback, whose lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def _add_worker(number: int, _logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["worker"] = number
    return event


def configure(level: str = "info", *, stream: TextIO | None = None, worker: int = 0, serving: bool = False) -> None:
    """Send all logs to ``stream`` (stderr by default), as lines for people on a terminal and as JSON elsewhere. The lines of
    a worker process carry its number. ``serving``: be ready at once, because the process may not read our code for ever.
    """
    _waiting[:] = [partial(_configure, level, stream or sys.stderr, worker)]
    if serving or "structlog" in sys.modules:
        _structlog()


def _structlog() -> ModuleType:
    """Return structlog, configured."""
    import structlog

    if _waiting:
        with suppress(IndexError):  # another thread was first
            _waiting.pop()()
    return structlog


def _configure(level: str, out: TextIO, worker: int) -> None:
    import structlog

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


class _Lazy:
    """A logger that is made when it is first spoken to."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger: object = None

    def __getattr__(self, attribute: str) -> object:
        structlog = _structlog()
        if self._logger is None:
            self._logger = structlog.get_logger(component=self._name)
        return getattr(self._logger, attribute)


def get_logger(name: str) -> Logger:
    """Return a logger whose lines carry ``name`` as ``component``."""
    return cast("Logger", _Lazy(name))
