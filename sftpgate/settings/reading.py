"""How settings are read: from the environment and ``sftpgate.toml``, once in each process.

Sources, strongest first: environment variables ``SFTPGATE_<NAME>``, then ``sftpgate.toml`` in the working directory (or
the file that ``SFTPGATE_CONFIG`` names), then the defaults of ``tree``. An unknown key or variable is an error that suggests
the nearest known one. Relative paths in the TOML file, and defaults beside one, are relative to that file; those from the
environment to the working directory.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sftpgate.errors import SettingsError
from sftpgate.regular_files import read_regular
from sftpgate.settings.mistakes import explain, nearest
from sftpgate.settings.tree import ENV_PREFIX, Settings

CONFIG_VARIABLE = "SFTPGATE_CONFIG"
DEFAULT_CONFIG_NAME = "sftpgate.toml"
MAX_FILE_BYTES = 4 * 1024 * 1024  # thousands of tools; more is a mistake
_OTHER_VARIABLES = {CONFIG_VARIABLE, "SFTPGATE_FILE", "SFTPGATE_TOOL", "SFTPGATE_ARRIVAL", "SFTPGATE_TRYBACK", "SFTPGATE_RESULT"}

# tables of tables, whose keys are looked at as those of the file
_NESTED = (f"{ENV_PREFIX}TOOLS__", f"{ENV_PREFIX}EXPECT__", f"{ENV_PREFIX}NOTIFY__")
_PATHS = ("data_dir", "keys_dir", "store_dir", "drop_dir")
_FILES = ("console_tls_certificate", "console_tls_key")
_SQLITE = "sqlite:///"


def config_path(environ: Mapping[str, str]) -> Path | None:
    """Return the TOML file that holds, or None: ``SFTPGATE_CONFIG`` must exist, ``sftpgate.toml`` may."""
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    default = Path(DEFAULT_CONFIG_NAME)
    return default if os.path.lexists(default) else None  # another kind of file is an error, and not "no settings"


def load() -> Settings:
    """Return the settings of this process, paths made absolute. Raises SettingsError with one line that says which key and what
    to do.
    """
    path = config_path(os.environ)
    return of_text(read_text(path), path) if path else _validated({}, None)


def read_text(path: Path) -> str:
    """Return the text of a TOML file. Raises SettingsError."""
    try:
        return read_regular(path, MAX_FILE_BYTES).decode()
    except FileNotFoundError as error:
        named = "a link that leads nowhere" if os.path.islink(path) else f"no such file (named by {CONFIG_VARIABLE})"  # noqa: PTH114
        raise SettingsError(f"{path}: {named}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def values_of(text: str) -> dict[str, Any]:
    """Return what a TOML text says. Raises SettingsError."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of too many digits, and lists in lists in lists
        raise SettingsError(f"not valid TOML: {error}") from error


def of_text(text: str, path: Path) -> Settings:
    """Return the settings of this process, were ``text`` what the TOML file at ``path`` has. Raises SettingsError."""
    try:
        values = values_of(text)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error.message}") from error
    _anchor(values, path.absolute().parent)
    return _validated(values, path)


def _anchor(values: dict[str, Any], directory: Path) -> None:
    """Make the relative paths of a TOML file absolute: they are relative to its directory."""
    for name in (*_PATHS, *_FILES):
        if isinstance(values.get(name), str):
            values[name] = str(directory / values[name])
    url = values.get("ledger_url")
    if isinstance(url, str) and url.startswith(_SQLITE) and not url.startswith((f"{_SQLITE}/", f"{_SQLITE}:")):
        values["ledger_url"] = f"{_SQLITE}{directory / url.removeprefix(_SQLITE)}"
    tools = values.get("tools")
    for tool in tools.values() if isinstance(tools, dict) else ():
        if isinstance(tool, dict) and isinstance(tool.get("working_directory"), str):
            tool["working_directory"] = str(directory / tool["working_directory"])
    expected = values.get("expect")
    for file in expected.values() if isinstance(expected, dict) else ():
        if isinstance(file, dict) and "calendars" in file:
            file["calendars"] = _anchored(file["calendars"], directory)
    notify = values.get("notify")
    for table in _tables_of_notify(notify) if isinstance(notify, dict) else ():
        for name in ("ca_file", "password_file"):
            if isinstance(table.get(name), str):
                table[name] = str(directory / table[name])


def _anchored(value: object, directory: Path) -> object:
    """Return paths of a TOML file made absolute; what is no path, or list of paths, is for pydantic to refuse."""
    if isinstance(value, str):
        return str(directory / value)
    return [_anchored(each, directory) for each in value] if isinstance(value, list) else value


def _tables_of_notify(notify: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tables below ``[notify]`` that name files."""
    receivers = notify.get("to")
    found = [notify.get("mail"), *(receivers.values() if isinstance(receivers, dict) else ())]
    return [table for table in found if isinstance(table, dict)]


def is_anywhere(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Return whether somebody said where the gate is, or it is here: a settings file, a place in the environment, or its
    directories.

    If none of that is, a command was started in another directory, and would work on an empty gate.
    """
    named = any(environ.get(ENV_PREFIX + name.upper()) for name in (*_PATHS, "ledger_url"))
    return named or config_path(environ) is not None or settings.data_dir.is_dir() or settings.keys_dir.is_dir()


def _validated(values: dict[str, Any], path: Path | None) -> Settings:
    _refuse_unknown_variables(os.environ)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(explain(error, path)) from error
    given, here, beside = settings.model_fields_set, Path.cwd(), path.absolute().parent if path else Path.cwd()
    found = {name: value for name in (*_PATHS, *_FILES) if (value := getattr(settings, name)) is not None}
    return settings.model_copy(update={name: (here if name in given else beside) / value for name, value in found.items()})


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for variable in environ:
        name = variable.upper()
        if name.startswith(ENV_PREFIX) and name not in known | _OTHER_VARIABLES and not name.startswith(_NESTED):
            raise SettingsError(f"unknown environment variable {variable}{nearest(name, known)}")
