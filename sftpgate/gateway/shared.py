"""What the connections and sessions of one process share."""

from __future__ import annotations

from dataclasses import dataclass

from sftpgate.drop.receipt_files import ReceiptFiles
from sftpgate.drop.sender_acts import SenderActs
from sftpgate.drop.sender_view import SenderView
from sftpgate.gateway.admission.connections import Admission
from sftpgate.gateway.close_verdicts import CloseVerdicts
from sftpgate.gateway.sftp.descriptor_limits import Descriptors
from sftpgate.gateway.ssh.host_keys import HostKeys
from sftpgate.gateway.ssh.key_exchanges import Exchanges
from sftpgate.gateway.ssh.last_use import LastUses
from sftpgate.gateway.tasks import Tasks
from sftpgate.logs import Logger
from sftpgate.policy.names import VirtualPath
from sftpgate.site import Site
from sftpgate.threads import Threads
from sftpgate.uploads.open_uploads import OpenUploads
from sftpgate.uploads.publisher import Publisher
from sftpgate.users.registry import UserRegistry


@dataclass(slots=True)
class Unchecked:
    """How much the uploads of this process have grown since the free space was looked at."""

    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One per process; the gate, its connections and its sessions are made of it."""

    site: Site
    # who is let in
    registry: UserRegistry
    admission: Admission
    exchanges: Exchanges
    last_uses: LastUses
    host_keys: HostKeys
    signature_algs: frozenset[str]
    # what sessions work on
    mount: VirtualPath
    sender_view: SenderView
    receipt_files: ReceiptFiles
    acts: SenderActs
    publisher: Publisher
    close_verdicts: CloseVerdicts
    open_uploads: OpenUploads
    descriptors: Descriptors
    unchecked: Unchecked
    # what does the work
    tasks: Tasks
    threads: Threads  # for looking, and for what waits for the disk
    change_threads: Threads  # for what waits for the store's lock
    password_threads: Threads
    login_threads: Threads  # for users' files, which may be on a slow disk
    log: Logger  # of connections and sessions
