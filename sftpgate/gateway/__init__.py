"""The gateway: SSH and SFTP. The only package that imports asyncssh."""
