"""What is wrong with settings that cannot be used, in one line that names the key. Secrets are not repeated."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sftpgate.settings.tree import ENV_PREFIX, Settings


def nearest(name: str, known: set[str]) -> str:
    """Return the end of a sentence that asks if the nearest known name is meant; empty if none is near."""
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def explain(error: ValidationError, path: Path | None) -> str:
    """Return the first finding of a validation, as one line that names the key."""
    finding = error.errors()[0]
    location = [str(part) for part in finding["loc"]]
    key = ".".join(location)
    variable = ENV_PREFIX + key.upper()
    where = variable if variable in os.environ else str(path or "settings")
    if finding["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}{nearest(location[-1], _keys_at(location[:-1]))}"
    if finding["type"] == "missing":
        return f"{where}: {key} is missing"
    message = finding["msg"].removeprefix("Value error, ")
    if not location:  # of the settings together
        return f"{path or 'settings'}: {message}"
    if isinstance(finding["input"], dict):  # of a table together: what it has is in the file, and long
        return f"{where}: {key}: {message}"
    got = "" if _may_be_secret(location) else f" (got {finding['input']!r})"
    return f"{where}: {key}: {message[:1].lower()}{message[1:]}{got}"


def _keys_at(location: list[str]) -> set[str]:
    """Return the keys that the table at a place of the settings may have."""
    model: Any = Settings
    for part in location:
        field = model.model_fields.get(part) if model is not None else None
        model = next(_models_in(field.annotation), None) if field is not None else model  # a name in a table of tables
    return {field.alias or name for name, field in model.model_fields.items()} if model is not None else set()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _may_be_secret(location: list[str]) -> bool:
    """Return whether what was given may hold a key, a password or a URL with either: such an error does not repeat it."""
    return location[0] == "notify" and (bool({"keys", "password", "url", "chat"} & set(location)))
