"""The names that runners never see: our own directory, and those of others as the settings have them by default.

A module of its own, because the shortest pass of ``sftpgate run`` needs them, and the settings cost it ten times its time.
"""

MANAGED_NAME = ".sftpgate"  # our own directory, in the store and in the drop
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
REFERENCE_SUFFIX = ".reference"  # of a file whose first line comes back in the receipts of the file that it lies beside
COMPANION_SUFFIXES = (".sha256", ".md5", ".done", ".ok", REFERENCE_SUFFIX)
