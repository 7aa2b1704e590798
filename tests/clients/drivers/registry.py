"""Which clients the matrix has, in the order of its columns."""

from __future__ import annotations

from tests.clients.drivers.base import Client
from tests.clients.drivers.curl import Curl
from tests.clients.drivers.lftp import Lftp
from tests.clients.drivers.libraries import (
    Asyncssh,
    Jsch,
    Paramiko,
    PerlNetSftpForeign,
    Phpseclib,
    RubyNetSftp,
    Ssh2SftpClient,
)
from tests.clients.drivers.openssh import OpensshScp, OpensshSftp
from tests.clients.drivers.putty import Pscp, Psftp
from tests.clients.drivers.rclone import Rclone

CLIENTS: tuple[Client, ...] = (
    OpensshSftp(),
    OpensshScp(),
    Lftp(),
    Rclone(),
    Curl(),
    Psftp(),
    Pscp(),
    Paramiko(),
    Asyncssh(),
    Ssh2SftpClient(),
    Jsch(),
    Phpseclib(),
    RubyNetSftp(),
    PerlNetSftpForeign(),
)
