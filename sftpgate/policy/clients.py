"""Families of SFTP clients, by the version line that they send: what their writes say about an interrupted upload (promise P1).

Pure. A client sends a file in full writes, and the rest in a shorter one; whoever breaks off does it between two writes. So a
short last write is the end of the file, and an upload of full writes only may be a part of one. For each family the table has
the lengths of its full writes, and whether it sends CLOSE after it broke off: some do never, and are believed. Most rows were
learned by running the program and making it fail (docs/clients.md says which); a family that is not here gets the careful
row. A version line is a claim: whoever lies about it can only publish files of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

# The longest write that this server offers to clients that ask (limits@openssh.com). A prime just below OpenSSH's own limit of
# 255 KiB: hardly any complete file is a multiple of it, so that an upload of such writes only is one that was interrupted.
# OpenSSH takes the number as it is.
LONGEST_OFFERED_WRITE = 261_101


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What is known of a family.

    ``full_writes``: the lengths of its full writes; none if they are not known. ``buffer``: what it reads from its file at
    a time, if it sends that in several writes of different lengths; it can break off at each multiple of it.
    ``is_program``: it sends files as they are, so that writes of one length are full ones; a library also sends what an
    application writes, piece by piece.
    ``states_size``: it sets the size to what it has written when it is done, and does not when it breaks off.
    """

    name: str
    version_lines: tuple[str, ...]  # the beginning of what follows "SSH-2.0-"
    closes_after_abort: bool
    full_writes: frozenset[int] = frozenset()
    buffer: int = 0
    is_program: bool = False
    states_size: bool = False


# OpenSSH's own sftp and scp, which ask for the limits; sftp -B sets another length, which shows if it is repeated
OPENSSH = Family(
    name="OpenSSH sftp, scp",
    version_lines=("OpenSSH_",),
    closes_after_abort=True,
    full_writes=frozenset({LONGEST_OFFERED_WRITE}),
    is_program=True,
)
# lftp, Net::SFTP::Foreign, sshfs, gvfs and OpenSSH's sftp before 8.5: they run OpenSSH's ssh, so that its version line is theirs
THROUGH_OPENSSH = Family(
    name="programs that run OpenSSH's ssh",
    version_lines=("OpenSSH_",),
    closes_after_abort=True,
    full_writes=frozenset({32768, 65536}),
    states_size=True,  # lftp
)
CAREFUL = Family(name="any other", version_lines=(), closes_after_abort=True)

FAMILIES = (
    OPENSSH,
    THROUGH_OPENSSH,
    Family(name="rclone", version_lines=("rclone",), closes_after_abort=False),
    Family(name="paramiko", version_lines=("paramiko_",), closes_after_abort=True, full_writes=frozenset({32768})),
    Family(
        name="asyncssh",
        version_lines=("AsyncSSH_",),
        closes_after_abort=True,
        full_writes=frozenset({LONGEST_OFFERED_WRITE, 16384}),
    ),
    # curl sends its buffer of 64 KiB as 30000, 30000 and 5536; PHP's streams write 8 KiB, and longer texts in pieces of 30000
    Family(
        name="libssh2 (curl, PHP ssh2)",
        version_lines=("libssh2_",),
        closes_after_abort=True,
        full_writes=frozenset({8192, 30000}),
        buffer=16384,
    ),
    Family(
        name="PuTTY psftp, pscp",
        version_lines=("PuTTY_",),
        closes_after_abort=True,  # when it cannot read its file
        full_writes=frozenset({4096}),
        is_program=True,
    ),
    Family(name="ssh2 for Node", version_lines=("ssh2js",), closes_after_abort=True, full_writes=frozenset({32768, 65536})),
    Family(name="JSch", version_lines=("JSCH",), closes_after_abort=True, full_writes=frozenset({32597})),
    Family(name="phpseclib", version_lines=("phpseclib_",), closes_after_abort=True, full_writes=frozenset({32739})),
    Family(name="Net::SSH (Ruby)", version_lines=("Ruby/Net::SSH_",), closes_after_abort=True, full_writes=frozenset({32000})),
    Family(name="Go (pkg/sftp)", version_lines=("Go",), closes_after_abort=True, full_writes=frozenset({32768})),
    CAREFUL,
)


def family_of(version_line: str, *, asked_limits: bool) -> Family:
    """Return the family of a client. ``asked_limits``: its SFTP session asked for this server's limits, as OpenSSH's own
    programs do.
    """
    software = version_line.removeprefix("SSH-2.0-").removeprefix("SSH-1.99-")
    if software.startswith(OPENSSH.version_lines):
        return OPENSSH if asked_limits else THROUGH_OPENSSH
    return next((family for family in FAMILIES if software.startswith(family.version_lines)), CAREFUL)
