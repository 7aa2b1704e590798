"""Which settings are in force, and where each comes from: for a person who asks why a gate does what it does.

Secrets are not among it: a password in a database URL is masked, and pydantic masks what a table declares as secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sftpgate.settings.reading import config_path, read_text, values_of
from sftpgate.settings.tree import ENV_PREFIX, Settings

DEFAULT = "default"
_URL_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^@]*(?=@)")


@dataclass(frozen=True, slots=True)
class InForce:
    """One setting: its name with dots, its value, the field that says how it is written, and where the value comes from."""

    name: str
    value: object
    field: FieldInfo
    source: str  # "default", the name of a file, or the name of an environment variable

    @property
    def is_default(self) -> bool:
        """Return whether nobody set it."""
        return self.source == DEFAULT


def in_force(settings: Settings, environ: Mapping[str, str] = os.environ) -> Iterator[InForce]:
    """Yield each setting of ``settings``, which was read with ``environ``; the keys of tables that nobody set are left out."""
    path = config_path(environ)
    text = values_of(read_text(path)) if path else {}
    yield from _of_model(settings, "", text, environ, str(path))


def _of_model(model: BaseModel, prefix: str, text: Any, environ: Mapping[str, str], file: str) -> Iterator[InForce]:
    said = text if isinstance(text, dict) else {}
    for name, field in type(model).model_fields.items():
        value, full = getattr(model, name), f"{prefix}{name}"
        below = said.get(name)
        if isinstance(value, BaseModel):
            yield from _of_model(value, f"{full}.", below, environ, file)
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, BaseModel):
                    yield from _of_model(item, f"{full}.{key}.", (below or {}).get(key), environ, file)
        else:
            source = _source(full, name in said, environ, file)
            if source != DEFAULT or not prefix:
                yield InForce(full, _shown(value), field, source)


def _source(name: str, is_in_file: bool, environ: Mapping[str, str], file: str) -> str:
    variable = ENV_PREFIX + name.replace(".", "__").upper()
    given = {key.upper(): key for key, value in environ.items() if value}  # an empty one is as none
    if variable in given:
        return given[variable]
    return file if is_in_file else DEFAULT


def _shown(value: object) -> object:
    if isinstance(value, str):
        return _URL_PASSWORD.sub(r"\1:***", value)
    return str(value) if isinstance(value, Path) else value
