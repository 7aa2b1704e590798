"""``sftpgate settings``: every setting with its environment variable, default and meaning, taken from the settings tree itself.

The README's table is this command's Markdown (``make docs``); a test compares them. Every default is shown as it would be written
in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated

import typer
from pydantic import ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sftpgate.cli.output import emit
from sftpgate.settings import ENV_PREFIX, Settings, ToolSettings, duration_text, parse_duration

COLUMNS = ("name", "environment", "default", "description")


def settings(
    json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of the README.")] = False,
) -> None:
    """List every setting: name, environment variable, default, meaning.

    Example: sftpgate settings | grep sweep
    """
    if markdown:
        typer.echo(as_markdown())
    else:
        emit([*gate_rows(), *tool_rows()], COLUMNS, json=json)


def gate_rows() -> Iterator[dict[str, str]]:
    """A row for each setting of the gate, in the order of the settings tree."""
    for name, field in Settings.model_fields.items():
        if name != "tools":
            yield _row(name, ENV_PREFIX + name.upper(), name, field)


def tool_rows() -> Iterator[dict[str, str]]:
    """A row for each key of a ``[tools.NAME]`` table."""
    for name, field in ToolSettings.model_fields.items():
        yield _row(f"tools.NAME.{name}", f"{ENV_PREFIX}TOOLS__NAME__{name.upper()}", name, field)


def as_markdown() -> str:
    """Two Markdown tables: the settings of the gate, and those of a tool."""
    gate = _markdown_table(list(gate_rows()), COLUMNS)
    tools = _markdown_table(
        [{**row, "name": row["name"].rpartition(".")[2]} for row in tool_rows()], ("name", "default", "description")
    )
    return f"{gate}\n\nEach tool is a table `[tools.NAME]` of the TOML file:\n\n{tools}"


def default_text(name: str, field: FieldInfo) -> str:
    """The default as one would write it in the environment; empty where there is none."""
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined or default is None or default == {}:
        return ""
    if name.endswith("_mode"):
        return f"{default:04o}"
    match default:
        case bool():
            return "true" if default else "false"
        case Enum():
            return str(default.value)
        case ByteSize():
            return default.human_readable().replace(".0", "")
        case float():
            return duration_text(default) if _is_duration(field) else f"{default:g}"
        case tuple():
            return " ".join(map(str, default))
        case _:
            return str(default)


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
