"""What the sessions of one process share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from sftpgate.gateway.descriptors import Descriptors
from sftpgate.intake.hops import Hops
from sftpgate.intake.publish import Publisher
from sftpgate.intake.register import OpenUploads
from sftpgate.intake.staging import Staging
from sftpgate.intake.uploads import Upload
from sftpgate.store.disk import Disk

Spawn = Callable[[Coroutine[object, object, None]], None]


@dataclass(slots=True)
class Unchecked:
    """How much the uploads of this process have grown since the free space was looked at."""

    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What sessions need of the running gate; one set per process."""

    disk: Disk
    durable: bool  # what was answered survives a power cut, so the disk is kept busy behind the writers
    staging: Staging
    publisher: Publisher
    register: OpenUploads
    hops: Hops  # for looking, and for what waits for the disk
    change_hops: Hops  # for what waits for the store's lock
    require_free_space: Callable[[], None]
    look_at_quotas: Callable[[Upload], None]  # blocks; what it finds holds from the next write on
    unchecked: Unchecked
    is_stopping: Callable[[], bool]
    spawn: Spawn
    max_handles: int
    descriptors: Descriptors
    max_sftp_version: int


@dataclass(slots=True)
class Counts:
    """What one session has done; its last log line has it."""

    requests: int = 0
    uploads: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
