"""``python -m sftpgate`` is the same program as ``sftpgate``."""

from sftpgate.cli.main import main

if __name__ == "__main__":
    main()
