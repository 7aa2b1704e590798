"""The settings: one frozen tree, read once by the command line and passed down.

Sources, strongest first: environment variables ``SFTPGATE_<NAME>``, then ``sftpgate.toml`` in the working directory (or
the file that ``SFTPGATE_CONFIG`` names), then the defaults here. An unknown key or variable is an error that suggests
the nearest known one. Relative paths in the TOML file, and defaults beside one, are relative to that file; those from the
environment to the working directory.

Every field has a description, bounds and a unit; the table in the README is generated from them (``sftpgate
settings``).
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from sftpgate.errors import SettingsError

ENV_PREFIX = "SFTPGATE_"
LEAST_RSA_BITS = 1024  # shorter ones are within everybody's reach
CONFIG_VARIABLE = "SFTPGATE_CONFIG"
DEFAULT_CONFIG_NAME = "sftpgate.toml"
# The names that runners never see; ``policy.names`` has its rules from here.
BATCH_LOCK_NAME = "alock.txt"
# Temporary ones are those of clients that rename when they are done (WinSCP, rclone, Spring Integration, Camel, BizTalk
# and others), of browsers and transfer programs, and of editors on a mounted drop.
# fmt: off
IGNORED_SUFFIXES = (
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".writing", ".inprogress", ".in-progress", ".in_progress", ".uploading",
    ".upload", ".transferring", ".incomplete", ".unfinished", ".bts-wip", ".crdownload", ".opdownload", ".aria2", ".!ut", ".!qb",
    ".!bt", ".!sync", ".lock", ".lck", ".swp", ".swo", ".swx", "~",
)
# fmt: on
COMPANION_SUFFIXES = (".sha256", ".md5", ".done", ".ok")
_OTHER_VARIABLES = {CONFIG_VARIABLE, "SFTPGATE_FILE", "SFTPGATE_TOOL", "SFTPGATE_ARRIVAL", "SFTPGATE_TRYBACK", "SFTPGATE_RESULT"}

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_SECONDS = 1000 * 365 * 86400  # what can be added to today's date
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")


def parse_duration(value: object) -> object:
    """Seconds of a duration such as ``30``, ``"30m"``, ``"1.5h"`` or ``"2d"``; anything else is returned for pydantic to
    refuse.
    """
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _UNITS[match[2] or "s"]
    return value


def duration_text(seconds: float) -> str:
    """A duration as a person would write it: ``365d``, ``30m``, ``1.5s``; what ``parse_duration`` reads back."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:g}s" if seconds else "0"


def duration_of(text: str) -> float | None:
    """Seconds of a duration that somebody typed; None where it is none, or longer than a thousand years."""
    seconds = parse_duration(text)
    return seconds if isinstance(seconds, float) and seconds <= _LONGEST_SECONDS else None


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
Mode = Annotated[int, BeforeValidator(lambda value: int(value, 8) if isinstance(value, str) else value), Field(ge=0, le=0o777)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(lambda value: value.split() if isinstance(value, str) else value)]


class AuthMethod(StrEnum):
    """A way to prove who one is. A password may come by keyboard-interactive too."""

    PUBLICKEY = "publickey"
    PASSWORD = "password"  # noqa: S105 - a method's name


def _each_once(methods: tuple[AuthMethod, ...]) -> tuple[AuthMethod, ...]:
    if len(set(methods)) < len(methods):
        raise ValueError("a method is named twice")
    return methods


Methods = Annotated[
    tuple[AuthMethod, ...],
    NoDecode,
    BeforeValidator(lambda value: value.split() if isinstance(value, str) else value),
    AfterValidator(_each_once),
]


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"{network} is no address and no network such as 192.0.2.0/24") from error
    return value


Networks = Annotated[Names, AfterValidator(_networks)]


class Durability(StrEnum):
    """What an answered CLOSE means for a power cut."""

    FULL = "full"
    RELAXED = "relaxed"


class Algorithms(StrEnum):
    """Which SSH algorithms are offered."""

    DEFAULT = "default"
    HARDENED = "hardened"
    LEGACY = "legacy"


class Sandbox(StrEnum):
    """Whether the kernel keeps the server to its directories (Landlock)."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class Order(StrEnum):
    """What a second arrival of the same name does while the first one is unclaimed."""

    LATEST = "latest"
    QUEUE = "queue"


class Report(StrEnum):
    """How much of a tool's output its sender reads."""

    SUMMARY = "summary"
    FULL = "full"


class RowNumbers(StrEnum):
    """What the row numbers in a tool's output or result count."""

    LINES = "lines"
    RECORDS = "records"


class Language(StrEnum):
    """A language that people can be written to in."""

    ENGLISH = "en"
    FRENCH = "fr"


class Handover(StrEnum):
    """Who takes files from the top level of the store."""

    TOOLS = "tools"
    LOCK_TXT = "lock.txt"


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

    encoding: str = Field(
        "",
        description="encoding of the command's output, such as cp1252: reports become UTF-8, with \\xNN for what does not fit; "
        "default: reports have the output byte for byte",
    )

    @field_validator("retry_output", "failed_output", "rejected_output", "row_output", "reason_output", "counts_output")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
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


class Settings(BaseSettings):
    """All settings of one gate."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        validate_default=True,
        env_ignore_empty=True,
    )

    # where to listen
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(2222, ge=0, le=65535, description="port to listen on; 0 takes a free one")

    workers: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1, description='worker processes that share the port: a number, or "auto" for one a processor'
    )

    # where things are
    data_dir: Path = Field(Path("data"), description="directory of drop, store and ledger, unless they are set on their own")
    keys_dir: Path = Field(Path("keys"), description="directory of host keys and users")
    store_dir: Path | None = Field(None, description="the store, what runners read; default: <data_dir>/store")
    drop_dir: Path | None = Field(None, description="the drop on disk; default: <data_dir>/sync")
    ledger_url: str = Field("", description="database URL of the ledger; default: SQLite in <data_dir>/ledger.db")
    drop_mount: str = Field("/sync", description="where a user sees the drop; a connection starts there", pattern=r"^(/[^/]+)+$")
    file_mode: Mode = Field(0o640, description="mode of files in the store, octal")
    dir_mode: Mode = Field(0o750, description="mode of directories in the store, octal")
    file_group: str = Field(
        "", description="group of files and directories in the store; default: the group of the server process"
    )

    # the hand-over
    durability: Durability = Field(
        Durability.FULL,
        description='"full": what CLOSE acknowledged survives a power cut; "relaxed": it survives a killed process only',
    )
    sweep_interval: Duration = Field(30.0, gt=0, description="seconds between two sweeps")
    settle_seconds: Duration = Field(
        10.0, description="seconds that a file in the drop must stay unchanged before the sweeper takes it"
    )
    partial_ttl: Duration = Field(86400.0, gt=0, description="seconds that an interrupted upload can be resumed")
    batch_lock_name: str = Field(
        BATCH_LOCK_NAME,
        min_length=1,
        description="while a sender's file of this name, in any letter case, lies in the drop, no file of that sender is taken",
    )
    batch_lock_ttl: Duration = Field(10800.0, gt=0, description="seconds after which such a lock is stale and passed over")
    ignored_suffixes: Names = Field(
        IGNORED_SUFFIXES, description="names that end so, in any letter case, are never taken (temporary names)"
    )
    ignore_made_up: bool = Field(
        True,
        description="never take names that programs make up while they write: NAME.<32 hex digits>, NAME.<UUID>, "
        "NAME.tmp.<number>, NAME.part-<number>, ~$NAME",
    )
    companion_suffixes: Names = Field(
        COMPANION_SUFFIXES, description="names that end so, in any letter case, speak of the file beside them and are never taken"
    )
    require_done_file: bool = Field(
        False,
        description="a file waits until NAME.done or NAME.ok lies beside it; for NAME.csv it may be NAME.csv.done or NAME.done",
    )
    handover: Handover = Field(
        Handover.TOOLS,
        description='who takes files from the store: "tools", or "lock.txt": a batch tool that sweeps its top level by itself '
        "and creates lock.txt meanwhile",
    )
    consumer_lock_ttl: Duration = Field(
        10800.0, gt=0, description="seconds after which lock.txt is stale and passed over, where handover is lock.txt"
    )
    language: Language = Field(Language.ENGLISH, description="language of reports: en or fr; a user's own stands in user.toml")
    consumer_interval: Duration = Field(
        3600.0,
        description="seconds after a file was taken before one that waits behind it comes up, if handover is lock.txt: the batch "
        "tool keeps one version of a name, and must have executed it by then",
    )
    reader_time: Duration = Field(
        3600.0,
        description="seconds that a plain program may take from opening a file in the store to removing it: a newer file that "
        "took its place meanwhile, and was removed instead, is put back; 0: never",
    )
    publish_suspect: bool = Field(False, description="publish uploads that look interrupted instead of holding them")

    # how long things are kept that nobody waits for; 0: without limit
    keep_archives: Duration = Field(31536000.0, description="seconds that files stay in archives; 0: for ever")
    keep_archives_bytes: ByteSize = Field(ByteSize(0), ge=0, description="bytes in archives, beyond which the oldest go; 0: any")
    keep_reports: Duration = Field(31536000.0, description="seconds that reports and rejected lines are kept; 0: for ever")
    keep_reports_bytes: ByteSize = Field(ByteSize(0), ge=0, description="bytes in reports, beyond which the oldest go; 0: any")
    keep_quarantine: Duration = Field(0.0, description="seconds that files stay in quarantine; 0: until an admin decides")
    keep_quarantine_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="bytes in quarantine, beyond which the oldest go; 0: any"
    )
    keep_records: Duration = Field(
        94608000.0,
        description="seconds that the ledger knows arrivals whose files are gone, with their runs; a file that a backup brings "
        "back later is processed again; 0: for ever",
    )
    keep_events: Duration = Field(94608000.0, description="seconds that audit events are kept; 0: for ever")

    # limits
    max_upload_bytes: ByteSize = Field(ByteSize(16 * 1024**3), gt=0, description="largest upload, in bytes or as 512MiB")
    max_pending_bytes: ByteSize = Field(
        ByteSize(64 * 1024**3), gt=0, description="bytes that one user may have waiting, held and in staging"
    )
    max_pending_files: int = Field(200_000, gt=0, description="files that one user may have waiting, held and in staging")
    max_daily_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="bytes that one user may send in one day of UTC; 0: any number"
    )
    max_directories: int = Field(
        5000, gt=0, description="directories in a user's home, or in the drop outside of all homes, beyond which no more are made"
    )
    free_space_floor: ByteSize = Field(
        ByteSize(256 * 1024**2), ge=0, description="bytes of free space below which uploads are refused"
    )
    max_handles: int = Field(1024, ge=8, le=65536, description="open handles of one SFTP session")
    max_connections: int = Field(2000, ge=1, description="connections at a time")
    max_unauthenticated: int = Field(
        500, ge=1, description="connections that have not logged in yet, at a time; past it those that stand still are dropped"
    )
    max_unauthenticated_per_address: int = Field(200, ge=1, description="the same for one address (of IPv6: one /64)")
    max_auth_attempts: int = Field(6, ge=1, le=100, description="login attempts of one connection")
    max_connections_per_user: int = Field(100, ge=1, le=10_000, description="connections of one user at a time")
    max_sessions_per_connection: int = Field(10, ge=1, le=1000, description="SFTP sessions in one connection")
    max_sessions_per_user: int = Field(200, ge=1, le=10_000, description="SFTP sessions of one user at a time")
    login_timeout: Duration = Field(60.0, gt=0, description="seconds that a client has to log in")
    idle_timeout: Duration = Field(
        1800.0, description="seconds without a request after which a session or connection is ended; 0: never"
    )
    connection_time_max: Duration = Field(0.0, description="seconds after which a connection is ended in any case; 0: never")
    max_bytes_per_second: ByteSize = Field(
        ByteSize(0), ge=0, description="bytes a second that one user may send and fetch, over all its sessions; 0: any number"
    )
    keepalive_interval: Duration = Field(
        30.0,
        description="seconds between keepalives; a client whose machine acknowledges nothing for four of them is cut off, one "
        "that is only busy is not; 0: none",
    )
    shutdown_grace: Duration = Field(30.0, description="seconds that uploads in flight have to finish at SIGTERM")

    # monitoring
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="port of metrics (/metrics) and health (/healthz); 0 takes a free one; default: none"
    )
    metrics_host: str = Field("127.0.0.1", description="address of that port; it has no login: leave it on the loopback")

    # strangers
    trusted_networks: Networks = Field((), description="networks that are never banned, such as 10.0.0.0/8")
    ban_threshold: float = Field(
        10.0, ge=0, description="score of failed logins at which an address is banned (docs/security.md); 0: never"
    )
    ban_half_life: Duration = Field(600.0, gt=0, description="seconds in which such a score halves")
    ban_time: Duration = Field(600.0, gt=0, description="seconds of an address's first ban; each later one is twice as long")
    ban_time_max: Duration = Field(86400.0, gt=0, description="seconds of the longest ban")
    proxy_protocol_from: Networks = Field(
        (), description="networks of proxies: their connections must begin with a PROXY header (version 1 or 2)"
    )
    proxy_protocol_timeout: Duration = Field(5.0, gt=0, le=60, description="seconds that a proxy has for that header")

    # the process
    run_as: str = Field("", description="user that the server becomes when it was started as root and listens")
    allow_root: bool = Field(False, description="let the server run as root without a warning")
    sandbox: Sandbox = Field(
        Sandbox.AUTO,
        description='"auto": the kernel keeps the server to its directories, where it can; "required": or no start; "off"',
    )

    # SSH
    algorithms: Algorithms = Field(Algorithms.DEFAULT, description='"default", "hardened" or "legacy"')
    min_rsa_bits: int = Field(2048, ge=LEAST_RSA_BITS, le=16384, description="smallest RSA key of a user")
    required_auth: Methods = Field(
        (), description="what a login takes, in order: publickey password for both; empty: one of them"
    )
    fast_path: bool = Field(True, description="a quicker way through the SSH library; false, should it ever be suspected")
    sftp_version: int = Field(3, ge=3, le=6, description="highest SFTP protocol version offered")
    expiry_warning: Duration = Field(
        1209600.0, description="seconds before its end from which on a user or key that expires is warned of"
    )

    # logs and tools
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    tools: Mapping[str, ToolSettings] = Field(default_factory=dict, description="the tools, one [tools.NAME] table each")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value != ""} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _one_consumer(self) -> Self:
        if self.handover is Handover.LOCK_TXT:
            for name, tool in self.tools.items():
                if top := [file for file in tool.files if "/" not in file]:
                    raise ValueError(
                        f"handover: the batch tool takes every file at the top of the store, also {top[0]!r} of tools.{name}; "
                        'point that tool at a file in a subdirectory, or set handover to "tools"'
                    )
        return self

    @property
    def drop(self) -> Path:
        """The drop's directory on disk."""
        return self.drop_dir or self.data_dir / "sync"

    @property
    def store(self) -> Path:
        """The store's directory."""
        return self.store_dir or self.data_dir / "store"

    @property
    def worker_count(self) -> int:
        """How many worker processes there are."""
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers

    @property
    def ledger(self) -> str:
        """The ledger's database URL."""
        return self.ledger_url or f"sqlite:///{self.data_dir / 'ledger.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over the values of the TOML file, which come in as keyword arguments."""
        return env_settings, init_settings


_PATHS = ("data_dir", "keys_dir", "store_dir", "drop_dir")
_SQLITE = "sqlite:///"


def config_path(environ: Mapping[str, str]) -> Path | None:
    """The TOML file that holds, or None: ``SFTPGATE_CONFIG`` must exist, ``sftpgate.toml`` may."""
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    default = Path(DEFAULT_CONFIG_NAME)
    return default if default.is_file() else None


def load() -> Settings:
    """The settings of this process, paths made absolute. Raises SettingsError with one line that says which key and what
    to do.
    """
    path = config_path(os.environ)
    return of_text(read_text(path), path) if path else _validated({}, None)


def read_text(path: Path) -> str:
    """The text of a TOML file. Raises SettingsError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file (named by {CONFIG_VARIABLE})") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def of_text(text: str, path: Path) -> Settings:
    """The settings of this process, were ``text`` what the TOML file at ``path`` has. Raises SettingsError."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    _anchor(values, path.absolute().parent)
    return _validated(values, path)


def _anchor(values: dict[str, Any], directory: Path) -> None:
    """Make the relative paths of a TOML file absolute: they are relative to its directory."""
    for name in _PATHS:
        if isinstance(values.get(name), str):
            values[name] = str(directory / values[name])
    url = values.get("ledger_url")
    if isinstance(url, str) and url.startswith(_SQLITE) and not url.startswith((f"{_SQLITE}/", f"{_SQLITE}:")):
        values["ledger_url"] = f"{_SQLITE}{directory / url.removeprefix(_SQLITE)}"
    tools = values.get("tools")
    for tool in tools.values() if isinstance(tools, dict) else ():
        if isinstance(tool, dict) and isinstance(tool.get("working_directory"), str):
            tool["working_directory"] = str(directory / tool["working_directory"])


def is_anywhere(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether somebody said where the gate is, or it is here: a settings file, a place in the environment, or its directories.

    Where none of that is, a command was started in another directory, and would work on an empty gate.
    """
    named = any(environ.get(ENV_PREFIX + name.upper()) for name in (*_PATHS, "ledger_url"))
    return named or config_path(environ) is not None or settings.data_dir.is_dir() or settings.keys_dir.is_dir()


def _validated(values: dict[str, Any], path: Path | None) -> Settings:
    _refuse_unknown_variables(os.environ)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from error
    given, here, beside = settings.model_fields_set, Path.cwd(), path.absolute().parent if path else Path.cwd()
    found = {name: value for name in _PATHS if (value := getattr(settings, name)) is not None}
    return settings.model_copy(update={name: (here if name in given else beside) / value for name, value in found.items()})


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for variable in environ:
        name = variable.upper()
        if name.startswith(ENV_PREFIX) and name not in known | _OTHER_VARIABLES and not name.startswith(ENV_PREFIX + "TOOLS__"):
            raise SettingsError(f"unknown environment variable {variable}{_nearest(name, known)}")


def _nearest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _explain(error: ValidationError, path: Path | None) -> str:
    """The first finding of a validation, as one line that names the key."""
    finding = error.errors()[0]
    location = [str(part) for part in finding["loc"]]
    key = ".".join(location)
    variable = ENV_PREFIX + key.upper()
    where = variable if variable in os.environ else str(path or "settings")
    if finding["type"] == "extra_forbidden":
        model = ToolSettings if location[0] == "tools" else Settings
        return f"{where}: unknown key {key}{_nearest(location[-1], set(model.model_fields))}"
    if finding["type"] == "missing":
        return f"{where}: {key} is missing"
    message = finding["msg"].removeprefix("Value error, ")
    if not location:  # of the settings together
        return f"{path or 'settings'}: {message}"
    return f"{where}: {key}: {message[:1].lower()}{message[1:]} (got {finding['input']!r})"
