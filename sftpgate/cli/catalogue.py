"""The table of all commands of ``sftpgate``, and the tree that makes each of them when it is asked for.

There are some seventy commands, and a process calls one: its module alone is imported, and its options alone are made. The root's
``--help`` and completion of its words need names and first lines, which the table has. A test compares the table with
the commands themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter


class Listed(NamedTuple):
    """A command or a group of the root: its name, where its function or its Typer is, and the first sentence of its help."""

    name: str
    place: str  # module of sftpgate.cli.commands, and the name in it
    sentence: str
    hidden: bool = False


# The order in which --help lists them.
ENTRIES = (
    Listed("quickstart", "first_steps:quickstart", "Set everything up, prove it with a sample file, and serve until Ctrl-C."),
    Listed("serve", "serve:serve", "Serve SFTP in the foreground."),
    Listed("settings", "first_steps:settings", "List the settings that are in force: name, where it comes from, and value."),
    Listed(
        "doctor",
        "doctor:doctor",
        "Check settings, permissions, filesystems, host keys, users, ledger, tools and port, and say what to do.",
    ),
    Listed(
        "report-bug",
        "bug_report:report_bug",
        "Print versions, settings, findings and counts for a bug report: no names, paths, addresses, contents or secrets.",
    ),
    Listed(
        "status",
        "status:status",
        "Show what waits, what is held and why, what is being processed, the last sweep, and the last run of each tool.",
    ),
    Listed("arrivals", "arrivals:arrivals", "List the files that arrived, newest first."),
    Listed(
        "show",
        "arrivals:show",
        "Show everything that is known of one file: who sent it and how, where it is, and what happened to it since.",
    ),
    Listed("receipts", "receipts:receipts", "List the receipts of a file: what its sender was told of it, and when."),
    Listed(
        "diff",
        "differences:diff",
        "Show what a file would do: the rows that it adds, changes and removes, against the file that its tool processed last.",
    ),
    Listed("approve", "arrivals:approve", "Let one file go that the contract of its tool holds, as it is now, for two hours."),
    Listed("reject", "arrivals:reject", "Refuse a file that no runner has, and tell its sender why."),
    Listed(
        "undo", "differences:undo", "Make the file that undoes what a processed file did, and hold it until people approve it."
    ),
    Listed(
        "release",
        "arrivals:release",
        "Give a claimed file back unused, or let a held or quarantined one into the store, whatever held it back, but "
        "for a contract: see `sftpgate approve`.",
    ),
    Listed("discard", "arrivals:discard", "Remove a file that no runner has: held, queued, waiting or in quarantine."),
    Listed("sweep", "sweep:sweep", "Do one sweep now, and say what it did."),
    Listed("prune", "prune:prune", "Remove old archives, reports, quarantined files and records, as the keep_… settings say."),
    Listed(
        "verify", "sweep:verify", "Check that disk and ledger agree, and that nobody changed the audit record; changes nothing."
    ),
    Listed(
        "audit",
        "audit:audit",
        "Search and export the record of who did what: logins, refusals, files, runs, commands; the oldest first.",
    ),
    Listed(
        "backup",
        "backup:backup",
        "Write a backup of store, drop, ledger, keys and settings into a new directory, while the gate runs.",
    ),
    Listed("restore", "backup:restore", "Bring a backup back, where there is no gate."),
    Listed("run", "run:run", "Run tools on the files that wait for them, until nothing waits."),
    Listed(
        "claim",
        "claims:claim",
        "Claim the oldest file that waits for a tool, and print the claim and the file's path, with a space between them.",
    ),
    Listed("done", "claims:done", "Say that a claimed file is processed: it is archived, with a report."),
    Listed(
        "fail",
        "claims:fail",
        "Say that processing failed: the file waits for the next attempt, or goes to quarantine after the last one.",
    ),
    Listed("extend", "claims:extend", "Let a claim hold for longer, counted from now, and print until when."),
    Listed("worker", "serve:worker", "Serve as one worker process of `sftpgate serve`, which starts it.", hidden=True),
    Listed(
        "follow",
        "serve:follow",
        "Do what follows from what has happened, for `sftpgate serve`, which starts it: receipts, and what is to be told.",
        hidden=True,
    ),
    Listed("deliver", "serve:deliver", "Deliver notifications, for `sftpgate serve`, which starts it.", hidden=True),
    Listed("monitor", "monitor:monitor", "Show metrics and health, for `sftpgate serve`, which starts it.", hidden=True),
    Listed("console", "console:console", "Serve API and console, for `sftpgate serve`, which starts it.", hidden=True),
    Listed("tool", "tools:tool_app", "See the tools, point them at files, enable and disable them."),
    Listed("contract", "contracts:contract_app", "Contracts: what a tool's file has to be."),
    Listed("expect", "expectations:expect_app", "Expected files: which came, which are late, what could be expected."),
    Listed("quarantine", "quarantine:quarantine_app", "See, release and discard files that a tool failed on too often."),
    Listed(
        "store", "store:store_app", "The local file manager: look at what runners read, put files there, move and remove them."
    ),
    Listed("user", "users:user_app", "Users: the SFTP accounts, usually one per ERP."),
    Listed("key", "keys:key_app", "Keys of users."),
    Listed("hostkey", "host_keys:hostkey_app", "The server's own keys."),
    Listed("ban", "bans:ban_app", "Bans: addresses that are refused."),
    Listed("notify", "notify:notify_app", "Notifications: mail, webhooks, commands and chat."),
    Listed("service", "service:service_app", "The gate as a service that starts with the machine."),
)

_BY_NAME = {entry.name: entry for entry in ENTRIES}


class Commands(MutableMapping[str, "Command"]):
    """The commands of the root by name; one of the table is made when it is asked for."""

    def __init__(self, more: dict[str, Command]) -> None:
        """Have the table's commands, and ``more`` after them."""
        self._made = more
        self._names = dict.fromkeys([*_BY_NAME, *more])

    def __getitem__(self, name: str) -> Command:
        if name not in self._made and name in _BY_NAME and name in self._names:
            self._made[name] = _make(_BY_NAME[name])
        return self._made[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._made[name] = command
        self._names[name] = None

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        self._made.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Root(TyperGroup):
    """The group of all commands."""

    def __init__(self, *, commands: dict[str, Command] | None = None, **attributes: Any) -> None:
        """Have the table's commands, and those that were registered otherwise."""
        super().__init__(**attributes)
        self.commands = Commands(commands or {})

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """List names and first lines, and make no command for it."""
        lines: dict[str, Command] = {
            entry.name: TyperCommand(entry.name, help=entry.sentence, hidden=entry.hidden) for entry in ENTRIES
        }
        TyperGroup(name=self.name, commands=lines).format_commands(ctx, formatter)


def _make(entry: Listed) -> Command:
    """Import the module of a command or a group, and make what Typer makes of it."""
    module, name = entry.place.split(":")
    found = getattr(import_module(f"sftpgate.cli.commands.{module}"), name)
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=entry.name)
    else:
        alone.command(entry.name, hidden=entry.hidden)(found)
    return get_group(alone).commands[entry.name]
