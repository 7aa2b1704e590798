"""``sftpgate settings``: what is in force and where it comes from; or every setting with its environment variable, default and
meaning, taken from the settings tree itself.

docs/settings.md has this command's Markdown (``make docs``); a test compares them. Every value is shown as it would be written
in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated

import typer
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sftpgate.cli.output import emit
from sftpgate.settings.contracts import ContractSettings
from sftpgate.settings.durations import duration_text, parse_duration
from sftpgate.settings.expect import ExpectSettings
from sftpgate.settings.in_force import in_force
from sftpgate.settings.notify import MailSettings, NotifySettings, ReceiverSettings, RuleSettings
from sftpgate.settings.reading import load
from sftpgate.settings.tools import ToolSettings
from sftpgate.settings.tree import ENV_PREFIX, Settings

TABLES = ("tools", "expect", "notify")  # settings that are tables of their own
COLUMNS = ("name", "environment", "default", "description")


def settings(
    json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="List every setting with its default and its meaning.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/settings.md.")] = False,
) -> None:
    """List the settings that are in force: name, where it comes from, and value. Passwords are not shown.

    Example: sftpgate settings | grep -v default
    """
    if markdown:
        typer.echo(as_markdown())
    elif not defaults:
        emit(rows_in_force(), ("name", "from", "value"), json=json)
    else:
        emit([*gate_rows(), *tool_rows()], COLUMNS, json=json)


def rows_in_force() -> Iterator[dict[str, str]]:
    """Yield a row for each setting of this process; of a table, for each key that somebody set."""
    for setting in in_force(load()):
        value = value_text(setting.name.rpartition(".")[2], setting.field, setting.value)
        yield {"name": setting.name, "from": setting.source, "value": value}


def gate_rows() -> Iterator[dict[str, str]]:
    """Yield a row for each setting of the gate, in the order of the settings tree."""
    for name, field in Settings.model_fields.items():
        if name not in TABLES:
            yield _row(name, ENV_PREFIX + name.upper(), name, field)


def tool_rows() -> Iterator[dict[str, str]]:
    """Yield a row for each key of a ``[tools.NAME]`` table."""
    for name, field in ToolSettings.model_fields.items():
        yield _row(f"tools.NAME.{name}", f"{ENV_PREFIX}TOOLS__NAME__{name.upper()}", name, field)


def as_markdown() -> str:
    """Return two Markdown tables: the settings of the gate, and those of a tool."""
    gate = _markdown_table(list(gate_rows()), COLUMNS)
    tools = _markdown_table(
        [{**row, "name": row["name"].rpartition(".")[2]} for row in tool_rows()], ("name", "default", "description")
    )
    return f"{gate}\n\nEach tool is a table `[tools.NAME]` of the TOML file:\n\n{tools}"


def contract_as_markdown() -> str:
    """Return a Markdown table of the keys of a ``[tools.NAME.contract]`` table."""
    rows = [_row(name, "", name, field) for name, field in ContractSettings.model_fields.items()]
    return _markdown_table(rows, ("name", "default", "description"))


def expect_as_markdown() -> str:
    """Return a Markdown table of the keys of an ``[expect.NAME]`` table."""
    rows = [_row(name, "", name, field) for name, field in ExpectSettings.model_fields.items()]
    return _markdown_table([{**row, "name": row["name"].rstrip("_")} for row in rows], ("name", "default", "description"))


def notify_as_markdown() -> str:
    """Return Markdown tables of the keys of the tables ``[notify…]``."""
    tables: dict[str, type[BaseModel]] = {
        "[notify]": NotifySettings,
        "[notify.mail]": MailSettings,
        "[notify.to.NAME]": ReceiverSettings,
        "[notify.rules.NAME]": RuleSettings,
    }
    parts = []
    for title, model in tables.items():
        fields = {
            name: field
            for name, field in model.model_fields.items()
            if name not in ("mail", "to", "rules") or title != "[notify]"
        }
        rows = [_row(name, "", name, field) for name, field in fields.items()]
        parts.append(f"`{title}`:\n\n{_markdown_table(rows, ('name', 'default', 'description'))}")
    return "\n\n".join(parts)


def default_text(name: str, field: FieldInfo) -> str:
    """Return the default as one would write it in the environment; empty if there is none."""
    return value_text(name, field, field.get_default(call_default_factory=True, validated_data={}))


def value_text(name: str, field: FieldInfo, value: object) -> str:
    """Return a value of ``field`` as one would write it in the environment; empty if there is none."""
    if value is PydanticUndefined or value is None or value == {}:
        return ""
    if name.endswith("_mode") and isinstance(value, int):
        return f"{value:04o}"
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case ByteSize():
            return value.human_readable().replace(".0", "")
        case float():
            return duration_text(value) if _is_duration(field) else f"{value:g}"
        case tuple():
            return " ".join(map(str, value))
        case _:
            return str(value)


def _is_duration(field: FieldInfo) -> bool:
    return any(getattr(rule, "func", None) is parse_duration for rule in field.metadata)


def _row(name: str, environment: str, key: str, field: FieldInfo) -> dict[str, str]:
    required = field.is_required()
    description = (field.description or "") + (" (required)" if required else "")
    return {"name": name, "environment": environment, "default": default_text(key, field), "description": description}


def _markdown_table(rows: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(column, row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(column: str, text: str) -> str:
    escaped = text.replace("|", "\\|")
    if column == "description":
        return escaped.replace("<", "&lt;").replace("*", "\\*")
    return f"`{escaped}`" if escaped else ""
