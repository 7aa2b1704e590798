"""Long names of listings."""

from __future__ import annotations

import stat

import pytest
from asyncssh import SFTPAttrs

from sftpgate.gateway.sftp.longname import longname


@pytest.mark.promise("P5")
def test_long_names_have_fixed_columns() -> None:
    """The columns of a long name are where ``ls -l`` has them, whatever the file is."""
    attrs = SFTPAttrs(permissions=stat.S_IFREG | 0o640, size=2**40, mtime=0)
    assert longname("a b.csv", attrs, "erp") == b"-rw-r-----    1 erp      erp      1099511627776 Jan  1  1970 a b.csv"
    assert longname("é", SFTPAttrs(), "erp").decode().endswith("Jan  1  1970 é")
    assert len(longname("x", attrs, "a-very-long-user-name").split()) == 9
