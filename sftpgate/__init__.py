"""sftpgate: the SFTP server that owns the hand-over from an ERP to batch tools."""
