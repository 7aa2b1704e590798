"""Ready tables for the tools that a learning platform usually has, under the names that their files usually have.

The commands are Moodle's own, with options that they really have; what their output means is taken from their public source, and
tried against stand-ins in ``tests/platforms``. Enrolments by flat file, and the tasks of the synchronisation plugin, read a file
at a place of their own: ``adapters/hand_in.php`` gives it to them. Tables for what a platform may not have are disabled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sftpgate
from sftpgate.errors import UnknownTool

_PLATFORM = "/var/www/moodle"
_PLATFORM_DATA = "/var/moodledata"
_HAND_IN = Path(sftpgate.__file__).parent / "adapters" / "hand_in.php"

# What any script of the platform says if it cannot work at the moment (lib/setuplib.php, lib/clilib.php, lang/en/error.php of
# Moodle 4.5, and its French language pack: scripts speak the language of the site).
_NOT_THE_FILE = (
    "Database connection failed",
    "connexion à la base de données a échoué",
    "[Ee]rror (reading from|writing to) database",
    "Erreur (de lecture de|d.écriture vers) la base de données",
    "CLI maintenance mode active",
    "^Moodle upgrade pending",
    "^hand_in: ",
)
_CRASH = ("^!!!", "^PHP (Fatal|Parse) error:", "^Fatal error:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One tool. ``about`` says what its file has and what is to be known; ``enabled``: the platform surely has its command.

    The patterns are those of ``ToolSettings``, without what all presets have.
    """

    file: str
    about: tuple[str, ...]
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    enabled: bool = True
    failed_output: tuple[str, ...] = ()
    done_output: tuple[str, ...] = ()
    retry_output: tuple[str, ...] = ()
    retry_exit_codes: tuple[int, ...] = (75,)
    row_output: tuple[str, ...] = ()
    rejected_output: str = ""
    reason_output: str = ""
    counts_output: tuple[str, ...] = ()
    first_line: int = 1
    header: bool = True
    row_numbers: str = "lines"


def _task(file: str, task: str, about: str, after: tuple[str, ...]) -> Preset:
    """Return a task of the synchronisation plugin: one file at a time, and only the task that it is for."""
    directory = f"{_PLATFORM_DATA}/sync"
    return Preset(
        file=file,
        about=(
            about,
            "Needs the synchronisation plugin (admin/tool/sync), whose setting for this tool names the same file; its scheduled",
            "tasks are to be disabled: sftpgate runs them. It does not say what it rejected: that is in its own reports.",
            "done_output: a task is silent on a file that it did not read, or whose header it refuses. If it executed one, that",
            "is seen only if the plugin stores its report, or cleans the file up (two of its settings: one has to be on).",
        ),
        command=(
            *("php", str(_HAND_IN), "--file={file}", f"--to={directory}/{file}"),
            *(f"--busy={directory}/lock.txt", f"--busy={directory}/alock.txt", "--"),
            *("php", "admin/cli/scheduled_task.php", f"--execute=\\tool_sync\\task\\{task}"),
        ),
        after=after,
        enabled=False,
        failed_output=("^Scheduled task failed:",),
        done_output=("^Storing report", "^Cleaning out input file"),
        retry_output=("^Cron is disabled", "^Task '.*' not found"),
        retry_exit_codes=(75, 129, 130),  # 129 and 130: the platform's locks are held (admin/cli/scheduled_task.php)
    )


PRESETS = {
    "users": Preset(
        file="users.csv",
        about=(
            "accounts to create, change or suspend (a column suspended with 0 or 1)",
            "A first run may send a mail with a password to every new user: try it with ten users.",
            "--uutype=2 adds and updates (0 only adds), --uuupdatetype=1 takes the file's values.",
            "The command speaks the language of the site. The words below are those of English, French and German: for another",
            "one write its words (Line, Error:, Errors) into them. Until then runs fail, and do not look done.",
        ),
        command=(
            *("php", "admin/tool/uploaduser/cli/uploaduser.php", "--file={file}", "--uutype=2", "--uuupdatetype=1"),
            *("--uuallowsuspends=1", "--delimiter_name=comma", "--encoding=UTF-8"),
        ),
        failed_output=("is not a valid field name",),
        done_output=(r"^(Errors|Erreurs|Fehler): \d+$",),
        row_output=(r"^(Line|Ligne|Zeile) (?P<line>\d+)$",),
        rejected_output=r"^\s+(Error:|Erreur\s?:|Fehler:) (?P<reason>.*)",
        counts_output=(r"^(Errors|Erreurs|Fehler): (?P<rejected>\d+)$",),
        row_numbers="records",
    ),
    "courses": Preset(
        file="courses.csv",
        about=("courses to create or change",),
        command=(
            *("php", "admin/tool/uploadcourse/cli/uploadcourse.php", "--mode=createorupdate", "--updatemode=dataonly"),
            *("--delimiter=comma", "--encoding=UTF-8", "--file={file}"),
        ),
        failed_output=("^Invalid (mode|update mode|input CSV file|encoding|restore)",),
        done_output=(r"^line\tresult\t",),
        row_output=(r"^(?P<line>\d+)\t(OK|NOK)\t",),
        rejected_output=r"^(?P<line>\d+)\tNOK\t",
        reason_output=r"^\s+(?P<reason>\S.*)",
        counts_output=(
            r"^Courses total: (?P<rows>\d+)$",  # these in English alone; the rows above are in no language
            r"^Courses (created|updated|deleted): (?P<accepted>\d+)$",
            r"^Courses errors: (?P<rejected>\d+)$",
        ),
        first_line=2,
        row_numbers="records",
    ),
    "flatfile": Preset(
        file="enrolments.txt",
        about=(
            "enrolments without a header: add or del, role, the user's and the course's ID number",
            "Needs the flat file plugin (enrol/flatfile), whose setting for the location names the same place as --to.",
        ),
        command=(
            *("php", str(_HAND_IN), "--file={file}", f"--to={_PLATFORM_DATA}/flatfile/enrolments.txt", "--"),
            *("php", "enrol/flatfile/cli/sync.php", "-v"),
        ),
        after=("users", "courses"),
        enabled=False,
        failed_output=("Flatfile enrolments file not found", "Error deleting enrolment file"),
        done_output=(r"^\.\.\.finished enrolment file processing",),
        retry_exit_codes=(75, 2),
        row_output=(r"^\s+(?P<line>\d+): ", r"incorrectly formatted - ignoring (?P<line>\d+)$"),
        rejected_output=r"^\s*(?P<reason>.*) - ignoring (line )?(?P<line>\d+)$",
        header=False,
    ),
    "cohorts": _task("cohorts.csv", "cohortsync_task", "cohorts and their members", ("users",)),
    "enrols": _task("enrols.csv", "enrolsync_task", "who is enrolled where", ("users", "courses")),
    "groups": _task("groups.csv", "groupsync_task", "groups of courses and their members", ("courses", "enrols")),
    "userpictures": _task("userpictures.zip", "userpicturessync_task", "pictures, each named after its user", ("users",)),
    "generic": Preset(
        file="generic.csv",
        about=(
            "a command of your own: it writes what it did to SFTPGATE_RESULT (docs/runners.md), and ends with 75 to be tried",
            "later",
        ),
        command=("/path/to/command", "{file}"),
        enabled=False,
    ),
}


def as_toml(names: list[str], present: list[str]) -> str:
    """Return the tables of these presets. ``after`` names those only that are among them, or ``present`` already. Raises
    UnknownTool.
    """
    for name in names:
        if name not in PRESETS:
            raise UnknownTool(f"there is no preset {name!r} (there: {', '.join(PRESETS)})")
    return "\n".join(_table(name, PRESETS[name], {*names, *present}) for name in names)


def _table(name: str, preset: Preset, known: set[str]) -> str:
    after = [first for first in preset.after if first in known]
    lines = [*(f"# {text}" for text in preset.about), f"[tools.{name}]", f"file = {_text(preset.file)}"]
    lines.append(f"command = {_list(preset.command)}")
    if not preset.enabled:
        lines.append(f"enabled = false  # until the command is there: sftpgate tool enable {name}")
    lines += [
        '# run_as = "www-data"  # the platform\'s user: docs/runners.md says what it takes; then `sftpgate tool check '
        + name
        + "`",
        f"working_directory = {_text(_PLATFORM)}",
        'timeout = "1h"',
    ]
    if after:
        lines.append(f"after = {_list(after)}")
    lines += [
        'arrivals = "queue"  # every file, in order; "latest" takes the last one only',
        'retry_delay = "5m"  # before a file that failed is tried again',
        f"retry_exit_codes = [{', '.join(map(str, preset.retry_exit_codes))}]",
        f"retry_output = {_list((*_NOT_THE_FILE, *preset.retry_output))}",
        f"failed_output = {_list((*_CRASH, *preset.failed_output))}",
    ]
    if preset.done_output:
        lines.append(f"done_output = {_list(preset.done_output)}  # a run without it has failed")
    if preset.row_output:
        lines.append(f"row_output = {_list(preset.row_output)}")
    for key in ("rejected_output", "reason_output"):
        if pattern := getattr(preset, key):
            lines.append(f"{key} = {_text(pattern)}")
    if preset.counts_output:
        lines.append(f"counts_output = {_list(preset.counts_output)}")
    if preset.first_line != 1:
        lines.append(f"first_line = {preset.first_line}  # what the command calls row 1")
    if preset.row_numbers != "lines":
        lines.append(f"row_numbers = {_text(preset.row_numbers)}  # of CSV: a quoted cell may have line ends")
    if not preset.header:
        lines.append("header = false")
    return "\n".join(lines) + "\n"


def _list(items: tuple[str, ...] | list[str]) -> str:
    return f"[{', '.join(map(_text, items))}]"


def _text(value: str) -> str:
    """Return a string of TOML; one with a backslash is literal."""
    return f"'{value}'" if "\\" in value else f'"{value}"'
