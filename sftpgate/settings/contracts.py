"""The table ``[tools.NAME.contract]``: what a tool's file has to be.

A part of the settings, in a module of its own because it is long.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sftpgate import patterns


class Format(StrEnum):
    """How a file is packed, and what is in it."""

    AUTO = "auto"
    CSV = "csv"
    TEXT = "text"
    GZIP = "gzip"
    ZIP = "zip"


class Kind(StrEnum):
    """What a file says by what is not in it: a snapshot removes it, a delta leaves it alone."""

    SNAPSHOT = "snapshot"
    DELTA = "delta"


class Mode(StrEnum):
    """What becomes of a file that the contract objects to: it is held, or it goes on and is only reported."""

    HOLD = "hold"
    WARN = "warn"


class Repeat(StrEnum):
    """What becomes of a file that is, byte for byte, the one that the tool processed last."""

    ALLOW = "allow"
    HOLD = "hold"


_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class Bound(BaseModel):
    """So many rows, or such a share of the rows of the last processed file (0 to 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int | None = None
    share: float | None = None

    def allows(self, count: int, of: int) -> bool:
        """Return whether ``count`` of ``of`` rows are within the bound. A share of nothing allows everything."""
        if self.rows is not None:
            return count <= self.rows
        assert self.share is not None
        return of == 0 or count <= self.share * of

    def __str__(self) -> str:
        return str(self.rows) if self.rows is not None else f"{100 * (self.share or 0.0):g}%"


def _bound(value: object) -> object:
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        share = float(match[1]) / 100
        if share > 1:
            raise ValueError(f"{value} is more than everything: write at most 100%")
        return {"share": share}
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a number of rows is 0 or more")
        return {"rows": value}
    if isinstance(value, Bound | dict) or value is None:
        return value
    raise ValueError('write a share such as "10%", or a number of rows')


Bounded = Annotated[Bound | None, BeforeValidator(_bound)]
Columns = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


_PLACE = re.compile(r"\{([^{}]*)\}")


class UndoTemplates(BaseModel):
    """Commands that undo what a row did: a row of the tool's file for each, with the fields of the row in braces.

    A tool that has a command language gets these; for one without templates a snapshot is made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: Columns = Field((), description="for each row that a file had removed, such as add;{rolename};{cid};{uid}")
    added: Columns = Field((), description="for each row that it had added")
    changed: Columns = Field((), description="for each row that it had changed, with the fields that were there before")

    def filled(self, line: str, values: Mapping[str, str], delimiter: str) -> list[str]:
        """Return the fields of a template with those of a row in them."""
        return [_PLACE.sub(lambda place: values.get(place[1], ""), field) for field in line.split(delimiter)]

    def problems(self, columns: Collection[str], width: int, delimiter: str) -> Iterator[str]:
        """Yield what is wrong with the templates, for a header of ``width`` fields."""
        for name in ("removed", "added", "changed"):
            for line in getattr(self, name):
                if unknown := [place for place in _PLACE.findall(line) if place not in columns]:
                    yield f"undo.{name}: there is no column {unknown[0]} in header or optional"
                if len(line.split(delimiter)) != width:
                    yield f"undo.{name}: {line} has {len(line.split(delimiter))} fields, and header has {width}"


class ContractSettings(BaseModel):
    """What a tool's file has to be. Each field is a check; one that is not set does not object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format = Field(
        Format.AUTO, description='"csv", "text", "gzip" or "zip" (of one CSV file); "auto": CSV or text, not packed'
    )
    encoding: str = Field("utf-8", description="encoding that the tool expects, such as utf-8 or cp1252")
    convert: bool = Field(
        False, description="whether a text in another encoding is converted to this one, and the original kept in the archives"
    )
    convert_from: str = Field(
        "cp1252",
        description="what such a text is taken for if it is neither UTF-8 nor UTF-16, and every byte means something in it",
    )
    bom: bool = Field(False, description="whether a byte order mark at the beginning is allowed")
    delimiter: str = Field(";", min_length=1, max_length=1, description="what separates the fields of a row")
    quotes: bool = Field(True, description='whether the tool understands quoted fields ("…")')
    cell_newlines: bool = Field(False, description="whether a quoted field may have line ends in it")
    header: Columns = Field((), description="columns that the first row names, in any order")
    optional: Columns = Field((), description="columns that may be there too")
    exact: bool = Field(False, description="whether the columns are those of header, in its order, and no others")
    key: Columns = Field((), description="the columns that say what a row is about")
    group: str = Field("", description="a column: bounds hold within each of its values too")
    numbers: Columns = Field((), description="columns whose values are numbers, with a decimal point")
    max_removed: Bounded = Field(None, description='rows that may be gone, against the last processed file: "10%" or a number')
    max_added: Bounded = Field(None, description="rows that may be new, in the same way")
    max_changed: Bounded = Field(None, description="rows of a known key that may say something else, in the same way")
    min_rows: int = Field(1, ge=0, description="rows that a file has at least, without its header")
    max_rows: int = Field(0, ge=0, description="rows that a file has at most; 0: no limit")
    max_line_bytes: int = Field(0, ge=0, le=1048576, description="bytes of a line at most, without its end; 0: 1 MiB")
    max_key_length: int = Field(255, ge=1, description="characters of a key field at most")
    final_newline: bool = Field(False, description="whether the last line must have an end")
    refused_starts: str = Field(
        "=+-@([#/", description="characters that no row begins with: tools take such rows for something else"
    )
    trailer: str = Field(
        "", description="regular expression of the last line; a group (?P<rows>) is compared with the rows above it"
    )
    mode: Mode = Field(
        Mode.HOLD, description='"hold": what is wrong is held; "warn": it goes on, and its sender finds a report of what is wrong'
    )
    kind: Kind = Field(Kind.SNAPSHOT, description='"snapshot": what is not in the file is removed; "delta": it is left alone')
    repeat: Repeat = Field(Repeat.ALLOW, description="whether the very file that was processed last may come again")
    max_repeat_days: int = Field(0, ge=0, le=3650, description="days for which the same file may come again; 0: no limit")
    undo: UndoTemplates | None = Field(
        None, description="commands that undo a run: a table with removed, added and changed (see *Undo a run*)"
    )
    four_eyes: bool = Field(False, description="whether two different people must approve a file that the contract holds")

    @field_validator("encoding", "convert_from")
    @classmethod
    def _is_text_encoding(cls, value: str) -> str:
        try:
            "a".encode(value)
        except (LookupError, UnicodeError) as error:
            raise ValueError(f"{value}: no encoding of texts is called so; write one such as utf-8 or cp1252") from error
        return value

    @field_validator("delimiter")
    @classmethod
    def _can_separate(cls, value: str) -> str:
        if value in '"\r\n':
            raise ValueError("neither a quote nor a line end separates fields")
        return value

    @field_validator("header", "optional", "key", "numbers")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for number, name in enumerate(value) if name in value[:number]]
        if twice:
            raise ValueError(f"{twice[0]} is named twice")
        if "" in value:
            raise ValueError("a column has a name")
        if unclean := [name for name in value if name != name.strip() or not name.isprintable()]:
            raise ValueError(f"{unclean[0]!r}: the name of a column neither begins nor ends with a blank, and can be seen")
        return value

    @field_validator("refused_starts")
    @classmethod
    def _can_begin_a_row(cls, value: str) -> str:
        if '"' in value:
            raise ValueError("a quote begins a quoted field: to refuse those, set quotes to false")
        return value

    @field_validator("trailer")
    @classmethod
    def _is_pattern(cls, value: str) -> str:
        if value:
            try:
                patterns.compiled(value)
            except patterns.PatternUnusable as error:
                raise ValueError(f"{value!r}: {error}") from error
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for problem in (*self._problems_of_columns(), *self._problems_of_bounds(), *self._problems_of_texts()):
            raise ValueError(problem)
        return self

    def _problems_of_columns(self) -> Iterator[str]:
        columns = {*self.header, *self.optional}
        if both := [name for name in self.optional if name in self.header]:
            yield f"optional: {both[0]} is in header already"
        if self.exact and self.optional:
            yield "exact goes without optional: the columns are those of header"
        if self.exact and not self.header:
            yield "exact needs header: the columns that a file has"
        for name, named in (("key", self.key), ("numbers", self.numbers), ("group", (self.group,) if self.group else ())):
            if unknown := [column for column in named if column not in columns]:
                yield f"{name}: there is no column {unknown[0]} in header or optional"
        if missing := [column for column in self.key if column not in self.header]:
            yield f"key: {missing[0]} must be in header: without it nobody knows what a row is about"
        if self.undo is not None and not self.header:
            yield "undo needs header: the columns that its commands have"
        if self.undo is not None:
            yield from self.undo.problems(columns, len(self.header), self.delimiter)
        if not self.quotes and (split := [column for column in (*self.header, *self.optional) if self.delimiter in column]):
            yield f"header: {split[0]} has the delimiter in it, and quotes is false: no file can have such a column"
        if self.format is Format.TEXT and columns:
            yield "header goes with a table: a text has no columns"

    def _problems_of_bounds(self) -> Iterator[str]:
        compared = [name for name in ("max_removed", "max_added", "max_changed") if getattr(self, name) is not None]
        if compared and not self.key:
            yield f"{compared[0]} needs key: the columns that say what a row is about"
        if self.group and not compared:
            yield "group goes with max_removed, max_added or max_changed"
        if self.kind is Kind.DELTA and self.max_removed is not None:
            yield "max_removed says nothing of a delta: it removes nothing by what is not in it"
        if self.max_rows and self.max_rows < self.min_rows:
            yield "max_rows is less than min_rows"
        if self.repeat is Repeat.HOLD and self.max_repeat_days:
            yield 'max_repeat_days goes with repeat = "allow": a file that may not come again has no days'

    def _problems_of_texts(self) -> Iterator[str]:
        header_bytes = len(self.delimiter.join(self.header).encode())
        if not self.quotes and self.cell_newlines:
            yield "cell_newlines goes with quotes"
        if self.max_line_bytes and self.max_line_bytes < header_bytes:
            yield f"max_line_bytes is less than the {header_bytes} bytes of the header: no file can keep it"
        if self.convert and self.format in (Format.GZIP, Format.ZIP):
            yield f'convert goes with texts that are not packed, and format is "{self.format.value}"'
        if self.format is Format.TEXT and self.trailer:
            yield "trailer goes with a table: a text has no rows"
        if self.bom and codecs.lookup(self.encoding).name != "utf-8":
            yield "bom goes with encoding utf-8: no other text begins with its mark"
