"""The tables ``[tools.NAME]``: the named consumers of files in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sftpgate import patterns
from sftpgate.settings.choices import Order, Report, RowNumbers
from sftpgate.settings.contracts import ContractSettings
from sftpgate.settings.durations import Duration
from sftpgate.settings.values import Names, Patterns


class ToolSettings(BaseModel):
    """One ``[tools.NAME]`` table: a named consumer of a file in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | tuple[str, ...] = Field(
        description="the file in the store that the tool consumes: a name, a list, or a pattern such as users*.csv"
    )
    command: tuple[str, ...] = Field(
        min_length=1, description="the command and its arguments; {file} stands for the claimed file"
    )
    run_as: str = Field(
        "", description="user that the command runs as, such as www-data (docs/runners.md); default: whoever sftpgate runs as"
    )
    run_group: str = Field("", description="group that the command has first; default: the main group of run_as")
    timeout: Duration = Field(1800.0, description="seconds after which a run is stopped")
    after: Names = Field((), description="tools that go first in one pass")
    arrivals: Order = Field(Order.LATEST, description='"latest" or "queue": every arrival, in order')
    max_attempts: int = Field(3, ge=1, le=1000, description="attempts before an arrival goes to quarantine")
    retry_delay: Duration = Field(0.0, description="seconds before a failed arrival is tried again")
    retry_exit_codes: tuple[Annotated[int, Field(ge=1, le=255)], ...] = Field(
        (75,),
        description="exit statuses that mean: try later, the file is not to blame; no attempt is spent, and the order is kept",
    )
    retry_output: Patterns = Field((), description="the same by the output: regular expressions, searched in each line")
    failed_output: Patterns = Field((), description="lines of output that mean failure, whatever the exit status is")
    done_output: Patterns = Field(
        (), description="lines that the output of every run has that did its work: a command that ends without one has failed"
    )
    rejected_output: Patterns = Field(
        (),
        description="lines of output that mean that a row was rejected; groups (?P<line>), (?P<reason>) say which and why, "
        "(?P<rejected>) how many",
    )
    row_output: Patterns = Field(
        (), description="lines that begin what the output says of a row, which their group (?P<line>) names"
    )
    reason_output: Patterns = Field(
        (), description="lines behind a rejected row that say why, as a whole or in a group (?P<reason>)"
    )
    counts_output: Patterns = Field(
        (), description="lines with numbers of rows, in groups (?P<rows>), (?P<accepted>), (?P<rejected>); several are added up"
    )
    first_line: int = Field(1, ge=0, le=1000, description="the line of the file that the tool's output calls 1")
    row_numbers: RowNumbers = Field(
        RowNumbers.LINES,
        description='what a row number counts: "lines" of the file, or "records" of CSV, whose quoted cells may have line ends '
        "and of which blank lines are none",
    )
    header: bool = Field(True, description="whether a file begins with a header, with which rejected lines are given back")
    report: Report = Field(
        Report.SUMMARY,
        description='what the sender reads of the output: "summary" leaves out stack traces, paths and addresses, '
        '"full" nothing; the admin has all of it',
    )
    enabled: bool = Field(True, description="whether `run` considers this tool")
    environment: Mapping[str, str] = Field(default_factory=dict, description="extra environment of the command")
    working_directory: Path | None = Field(
        None, description="where the command runs; default: the directory that sftpgate was started in"
    )

    contract: ContractSettings | None = Field(
        None, description="what the file should be, a table of its own: one that is not so is held (docs/contracts.md)"
    )
    encoding: str = Field(
        "",
        description="encoding of the command's output, such as cp1252: reports become UTF-8, with \\xNN for what does not fit; "
        "default: reports have the output byte for byte",
    )

    @field_validator(
        "retry_output", "failed_output", "done_output", "rejected_output", "row_output", "reason_output", "counts_output"
    )
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            patterns.compiled(pattern)
        return value

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            b" ".decode(value or "utf-8")
        except LookupError as error:
            raise ValueError(f"{error}; write one such as utf-8, latin-1 or cp1252") from error
        except UnicodeError:
            pass  # it exists, and a blank has another form in it
        return value

    @model_validator(mode="after")
    def _group_of_a_user(self) -> Self:
        if self.run_group and not self.run_as:
            raise ValueError("run_group goes with run_as: name the user too")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The names or patterns, always as a tuple."""
        return (self.file,) if isinstance(self.file, str) else self.file
