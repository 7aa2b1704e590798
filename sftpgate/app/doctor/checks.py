"""The checks of ``sftpgate doctor``: what is wrong with a set-up, and what to do about it.

Each check looks at one thing and yields findings; none raises for what it finds, none depends on another one. They
change nothing that lasts: probes are removed again, and what is not there yet is not made. A finding of the level
``error`` is something with which the gate does not start or does not keep a promise; a ``warning`` is likely to
become one, or is meant by somebody who knows why.
"""

from __future__ import annotations

import errno
import itertools
import os
import pwd
import socket
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sftpgate.app.composition import group_id, name_rules
from sftpgate.app.context import ledger_of_any_version
from sftpgate.app.doctor.findings import Finding, Findings, Level
from sftpgate.app.doctor.findings import error as _error
from sftpgate.app.doctor.findings import warning as _warning
from sftpgate.app.doctor.identity import LOST_LEDGER, check_identity, files_without_ledger
from sftpgate.app.doctor.notifications import check_followers, check_notifications
from sftpgate.app.doctor.places import check_acls, check_homes, check_stuck
from sftpgate.app.doctor.processes import check_process
from sftpgate.app.doctor.rights import check_modes, check_settings_file, check_tool_users
from sftpgate.app.doctor.services import check_run_unit, check_runs, check_service
from sftpgate.app.doctor.users import check_users
from sftpgate.errors import HostKeyError, SftpgateError
from sftpgate.gateway.sftp.descriptor_limits import WANTED, raise_limit
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.ledger import overview
from sftpgate.ledger.audit import chain
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.database.schema import SCHEMA_VERSION
from sftpgate.logs import printable, quoted
from sftpgate.policy.space import shortages
from sftpgate.policy.tools import findings
from sftpgate.settings.choices import Durability, Handover
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.filesystems import mount_of, probe, rooms
from sftpgate.users.host_keys.files import ensure_host_keys

LITTLE_SPACE = 4  # times the floor: time to do something about it
_HOST_KEY_KINDS = ("ed25519", "ecdsa", "rsa")
_PORT_TIMEOUT_SECONDS = 3
_OTHERS_READ = stat.S_IROTH | stat.S_IWOTH | stat.S_IRGRP  # to pass through is no harm: names in it must be known
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def examine(settings: Settings, now: datetime) -> Findings:
    """Yield the findings of all checks, in an order in which a person would go through them."""
    checks: tuple[tuple[str, Callable[[], Findings]], ...] = (
        ("settings", lambda: check_settings(settings)),
        ("directories", lambda: check_directories(settings)),
        ("consumer", lambda: check_consumer(settings)),
        ("filesystems", lambda: check_filesystems(settings)),
        ("ledger", lambda: check_ledger(settings)),
        ("identity", lambda: check_identity(settings)),
        ("places", lambda: check_stuck(settings)),
        ("access lists", lambda: check_acls(settings)),
        ("host keys", lambda: check_host_keys(settings.keys_dir)),
        ("users", lambda: check_users(settings, now)),
        ("homes", lambda: check_homes(settings)),
        ("tools", lambda: check_tools(settings)),
        ("notifications", lambda: check_notifications(settings)),
        ("followers", lambda: check_followers(settings, now)),
        ("waiting files", lambda: check_waiting(settings)),
        ("port", lambda: check_port(settings.host, settings.port)),
        ("open files", check_open_files),
        ("process", lambda: check_process(settings)),
        ("service", lambda: itertools.chain(check_service(settings), check_run_unit(settings))),
        ("runs", lambda: check_runs(settings, now)),
    )
    for name, check in checks:
        try:
            found = list(check())
        except (SftpgateError, OSError) as error:
            yield Finding(
                level=Level.ERROR,
                check=name,
                finding=f"cannot be checked: {error}",
                what_to_do="mend what the other errors name, then look again",
            )
            continue
        yield from found
        if not found:
            yield Finding(level=Level.OK, check=name, finding="fine")


# -- settings and directories ----------------------------------------------------------------------------------------


def check_settings(settings: Settings) -> Findings:
    """Yield settings that are valid each for itself, and not together."""
    places = {"store": settings.store, "drop": settings.drop, "keys_dir": settings.keys_dir}
    for inner, path in places.items():
        for outer, other in places.items():
            if inner != outer and path.resolve().is_relative_to(other.resolve()) and (inner < outer or path != other):
                yield _error("settings", f"{inner} lies in {outer} ({path})", "give each a directory of its own")
    try:
        group_id(settings.file_group)
    except SftpgateError as error:
        yield _error("settings", error.message, "make the group, or change file_group")
    if settings.durability is Durability.RELAXED:
        yield _warning("settings", "durability is relaxed: a power cut may lose acknowledged files", 'set durability to "full"')
    yield from check_settings_file(settings)


def check_consumer(settings: Settings) -> Findings:
    """Yield whether the batch tool that sweeps the store can do there what it does: make a lock file, read files, and remove
    them.
    """
    if settings.handover is not Handover.LOCK_TXT or not settings.store.is_dir():
        return
    found = settings.store.stat()
    if not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        yield _error(
            "consumer",
            f"{settings.store} has mode {mode}: the batch tool cannot create lock.txt there, takes nothing, and does not say so",
            f"chmod g+w {settings.store}, and chgrp it to the batch tool's group",
        )
    if not settings.file_group and found.st_mode & stat.S_IWGRP and not found.st_mode & stat.S_IWOTH:
        yield _warning(
            "consumer",
            f"files in {settings.store} get the server's own group: the batch tool reads them only if it is in it",
            "set file_group to the batch tool's group",
        )
    if not settings.file_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield _error("consumer", f"file_mode {settings.file_mode:04o} lets nobody but the server read files", "set it to 0640")


def check_directories(settings: Settings) -> Findings:
    """Yield whether we may work in the directories, and whether others may do there what they must not."""
    for name, path in (("store_dir", settings.store), ("drop_dir", settings.drop)):
        yield from _check_directory(name, path)
    yield from check_modes(settings)
    keys = settings.keys_dir
    if keys.is_dir():
        yield from _check_not_writable("keys_dir", keys)
        yield from _check_access("keys_dir", keys)
    managed = settings.store / MANAGED_NAME
    if managed.is_dir():
        if managed.stat().st_mode & _OTHERS_READ:
            yield _error(
                "directories", f"{managed} can be read by others: unfinished uploads are in it", f"chmod g-r,o-rw {managed}"
            )
        yield from check_owners(settings.store.stat().st_uid, managed)


def _check_directory(name: str, path: Path) -> Findings:
    if path.is_dir():
        yield from _check_access(name, path)
        if path.stat().st_mode & stat.S_IWOTH:
            yield _warning("directories", f"{path} can be written by everybody on this machine", f"chmod o-w {path}")
    elif path.exists():
        yield _error("directories", f"{path} is no directory", f"move it away, or change {name}")
    else:
        parent = next(above for above in path.parents if above.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            yield _error("directories", f"{path} does not exist, and we may not make it", f"make it, or change {name}")


def _check_access(name: str, path: Path) -> Findings:
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield _error("directories", f"{path} cannot be written by {_user_name(os.geteuid())}", f"chown or chmod it ({name})")


def _check_not_writable(name: str, path: Path) -> Findings:
    if path.stat().st_mode & _OTHERS_WRITE:
        yield _error(
            "directories", f"{path} can be written by others: they could let themselves in", f"chmod go-w {path} ({name})"
        )


def check_owners(owner: int, managed: Path) -> Findings:
    """Yield what a command made as root, the server may not be able to touch. ``owner``: the user id that the store belongs
    to.
    """
    strange = [path for path in (managed, *managed.iterdir(), *(managed / "staging").glob("*")) if path.lstat().st_uid != owner]
    if strange:
        yield _error(
            "directories",
            f"{strange[0]} does not belong to {_user_name(owner)}, the owner of the store",
            f"chown -R {_user_name(owner)} {managed}, and run sftpgate as that user",
        )
    if os.geteuid() != owner:
        yield _warning(
            "directories",
            f"the store belongs to {_user_name(owner)}, and this is {_user_name(os.geteuid())}",
            f"run sftpgate as {_user_name(owner)}: the permissions seen here are not the server's",
        )


# -- filesystems -----------------------------------------------------------------------------------------------------


def check_filesystems(settings: Settings) -> Findings:
    """Yield what the filesystems can do, and how much space they have."""
    ledger = Ledger(settings.ledger).file
    for name, path in (("store", settings.store), ("drop", settings.drop), ("ledger", ledger)):
        mount = mount_of(path) if path is not None else None
        if mount is not None and mount.is_network:
            yield _on_network(name, mount.type)
        elif mount is not None and mount.is_volatile:
            yield _warning("filesystems", f"the {name} is on {mount.type}: a restart may empty it", "put it on a lasting volume")
    if not settings.store.is_dir() or not settings.drop.is_dir():
        return
    disk = Disk()
    free = disk.free_bytes(settings.store)
    floor = settings.free_space_floor
    short = list(shortages(rooms(store=settings.store, drop=settings.drop, ledger=settings.data_dir), floor))
    for shortage in short:
        yield _error("filesystems", shortage, "free some space")
    if not short and free < LITTLE_SPACE * floor:
        yield _warning("filesystems", f"{free} bytes are free; below {floor} uploads are refused", "free some space")
    tried = probe(disk, settings.store, settings.drop, unique=str(os.getpid()))
    if tried.problem is not None:
        yield _error(
            "filesystems", f"the store or the drop cannot be used: {tried.problem}", "see the directories' owner and mount"
        )
    elif not tried.is_one_filesystem:
        yield _warning(
            "filesystems",
            "drop and store are on two filesystems: what lies in the drop is copied into the store",
            "put both on one filesystem where speed matters",
        )


def _on_network(name: str, kind: str) -> Finding:
    if name == "ledger":
        return _error(
            "filesystems",
            f"the ledger is on a network filesystem ({kind}), where SQLite's journal does not work",
            "put it on a local disk, or use PostgreSQL (ledger_url)",
        )
    return _warning(
        "filesystems",
        f"the {name} is on a network filesystem ({kind}): locks and flushes are as good as its server's",
        "mount it with locks and without asynchronous writes, or use a local disk",
    )


# -- ledger ----------------------------------------------------------------------------------------------------------


def check_ledger(settings: Settings) -> Findings:
    """Yield whether the database is whole, and of this program's version."""
    ledger = Ledger(settings.ledger)
    file = ledger.file
    try:
        if file is not None and not file.exists():
            yield from _without_ledger(settings)
            return
        problem = ledger.check()
        if problem is not None:
            yield _error(
                "ledger", f"it is damaged: {problem}", "stop the server and start it again: it makes a new one from the disk"
            )
            return
        if not ledger.is_made():
            yield from _without_ledger(settings)
            return
        with ledger.reading() as connection:
            mode = overview.journal_mode(connection)
            version = overview.schema_version(connection)
    finally:
        ledger.close()
    if version is not None and version.isdigit() and int(version) < SCHEMA_VERSION:
        yield _warning("ledger", f"it has version {version}, this program's is {SCHEMA_VERSION}", "the next start upgrades it")
    elif version != str(SCHEMA_VERSION):
        yield _error("ledger", f"it has version {version}, this program needs {SCHEMA_VERSION}", "use the program that wrote it")
    if mode not in (None, "wal"):
        yield _error("ledger", f"its journal is {mode}, not a write-ahead log", "put it on a local disk")
    if file is not None and file.stat().st_mode & stat.S_IRWXO:
        yield _warning("ledger", f"{file} can be read by everybody on this machine", f"chmod o-rwx {file}")


def _without_ledger(settings: Settings) -> Findings:
    """Say of a missing ledger whether there is none yet, or it is gone, with what only it knew."""
    if count := files_without_ledger(settings):
        yield _warning("ledger", f"it is not there, and files lie in the store ({count} or more)", LOST_LEDGER)


# -- host keys -------------------------------------------------------------------------------------------------------


def check_host_keys(keys_dir: Path) -> Findings:
    """Yield whether the server can show the keys that its clients know."""
    files = [keys_dir / "host" / f"ssh_host_{kind}_key" for kind in _HOST_KEY_KINDS]
    missing = [path for path in files if not path.exists()]
    for path in missing:
        if path.with_name(f"{path.name}.pub").exists():
            yield _error("host keys", f"{path} is missing, and its public half is there", "bring it back from a backup")
    for path in files:
        if path.exists() and path.stat().st_mode & 0o077:
            yield _error("host keys", f"{path} can be read by others", f"chmod 600 {path}")
    if not missing:
        try:
            ensure_host_keys(keys_dir)  # makes nothing if all are there
        except HostKeyError as error:
            yield _error("host keys", error.message, "see the file")


# -- tools -----------------------------------------------------------------------------------------------------------


def check_tools(settings: Settings) -> Findings:
    """Yield whether each tool can get its file and be started."""
    for problem in findings(settings.tools, name_rules(settings)):
        what, _, to_do = problem.rpartition("; ")
        yield _error("tools", printable(what or problem), to_do if what else "correct it in the settings")
    yield from check_tool_users(settings)


# -- waiting files ----------------------------------------------------------------------------------------------------


def check_waiting(settings: Settings) -> Findings:
    """Yield whether each file that waits is some tool's."""
    from sftpgate.app.status.collecting import SHOWN, without_tool

    with ledger_of_any_version(settings) as ledger:
        if ledger is None:
            return
        with ledger.reading() as connection:
            waiting = overview.waiting(connection) if chain.is_there(connection) else []
    rows = without_tool(settings, waiting)
    for row in rows[:SHOWN]:
        yield _warning("waiting files", printable(f"{quoted(row.path)} waits, and no tool takes it"), row.what_to_do)
    if len(rows) > SHOWN:
        yield _warning("waiting files", f"{len(rows) - SHOWN} more wait, and no tool takes them", "sftpgate status --json")


# -- open files ------------------------------------------------------------------------------------------------------


def check_open_files() -> Findings:
    """Yield whether the server may have as many files open as its limits on connections and handles allow."""
    limit = raise_limit()
    if limit < WANTED:
        yield _warning(
            "open files",
            f"a process may have {limit} files open, which busy times can reach: some are refused then",
            f"LimitNOFILE={WANTED} in the unit of systemd, or ulimit -n {WANTED} before the start",
        )


# -- port ------------------------------------------------------------------------------------------------------------


def check_port(host: str, port: int) -> Findings:
    """Yield whether the port is free for us, or served by an SSH server already."""
    if port == 0:
        return
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(address)
        except PermissionError:
            yield _error(
                "port",
                f"{_user_name(os.geteuid())} may not listen on port {port}",
                "use a port above 1023, or CAP_NET_BIND_SERVICE",
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                yield _error("port", f"{host} port {port} cannot be listened on: {error.strerror}", "change host or port")
            else:
                yield _who_has_it(host, port)


def _who_has_it(host: str, port: int) -> Finding:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    try:
        with socket.create_connection((reachable, port), timeout=_PORT_TIMEOUT_SECONDS) as connection:
            banner = connection.recv(256)
    except OSError:
        banner = b""
    if b"sftpgate" in banner.lower():
        return Finding(level=Level.OK, check="port", finding=f"a gate serves {host} port {port}")
    return _error("port", f"{host} port {port} is used by another program", "stop that one, or change the port")


# -- words -----------------------------------------------------------------------------------------------------------


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
