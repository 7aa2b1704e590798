#!/usr/bin/env python3
"""Send a file to an sftpgate server, wait until its receipt says what became of it, and exit by that.

  send_and_wait.py FILE NAME USER@HOST [options of sftp, such as -P 2222 -i erp_key]

Exit status: 0 taken by its tool, 1 it could not be sent or asked for, 2 wrong arguments, 3 correct it, 4 send it again,
5 ask the server's people, 6 nothing was said in time, 7 the receipt is not signed by a key of RECEIPT_SIGNERS.
RECEIPT_TIMEOUT: seconds to wait (3600). RECEIPT_SIGNERS: what `sftpgate hostkey show --allowed-signers` prints, in a file.
Needs Python 3.8 and OpenSSH's sftp and, for signatures, its ssh-keygen.
"""

import hashlib
import json
import os
import posixpath
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STATUS = {"none": 0, "fix": 3, "resend": 4, "call": 5}
LONGEST_PAUSE_SECONDS = 15


class Trouble(Exception):
    """Something that keeps us from the outcome, with an exit status."""


def quoted(path):
    """Return a path for a batch of sftp, standing for itself."""
    return '"' + "".join("\\" + c if c in '"\\*?[' else c for c in path) + '"'


def sftp(command, target):
    """Run one command of sftp; return whether it succeeded, and what was said."""
    done = subprocess.run(
        ["sftp", "-q", "-b", "-", *target[1:], target[0]], input=command + "\n", capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stderr.strip()


def fetched(path, scratch, target):
    """Return the content of a remote file, None if it is not there."""
    local = Path(scratch, "fetched")
    is_there, _ = sftp(f"get {quoted(path)} {quoted(str(local))}", target)
    return local.read_bytes() if is_there else None


def is_signed(receipt, signature, signers, scratch):
    """Return whether ssh-keygen finds the signature good."""
    file = Path(scratch, "signature")
    file.write_bytes(signature)
    words = ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "sftpgate", "-n", "sftpgate-receipt", "-s", str(file)]
    return subprocess.run(words, input=receipt, capture_output=True, check=False).returncode == 0


def outcome(file, name, target, scratch, timeout):
    """Send the file, and return the receipt that says what to do: its bytes, and what they say."""
    path = f"/receipts/{name}.json"
    earlier = fetched(path, scratch, target)
    before = json.loads(earlier)["arrival"] if earlier else None
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    is_sent, said = sftp(f"put {quoted(file)} {quoted(name)}", target)
    if not is_sent:
        raise Trouble(said or f"{name} could not be sent", 1)
    end, pause = time.monotonic() + timeout, 1
    while True:
        receipt = fetched(path, scratch, target)
        if receipt:
            told = json.loads(receipt)
            is_ours = told["arrival"] != before and told["sha256"] == digest
            if is_ours and (told["final"] or told["action"] != "wait"):
                return receipt, told
        if time.monotonic() >= end:
            raise Trouble(f"{name}: no outcome within {timeout:g} seconds", 6)
        time.sleep(min(pause, max(end - time.monotonic(), 0)))
        pause = min(pause + 1, LONGEST_PAUSE_SECONDS)


def main(words):
    """Return the exit status."""
    if len(words) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    file, name, *target = words
    signers = os.environ.get("RECEIPT_SIGNERS")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            receipt, told = outcome(file, name, target, scratch, float(os.environ.get("RECEIPT_TIMEOUT", "3600")))
            if signers:
                own = posixpath.join("/receipts", posixpath.dirname(name), told["receipt"] + ".sig")
                signature = fetched(own, scratch, target)
                if not signature or not is_signed(receipt, signature, signers, scratch):
                    raise Trouble(f"{name}: the receipt is not signed by a key of {signers}", 7)
    except Trouble as trouble:
        print(trouble.args[0], file=sys.stderr)
        return trouble.args[1]
    print(f"{name}: {told['state']} ({told['code']}): {told['text']['en']}")
    return STATUS.get(told["action"], 5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
