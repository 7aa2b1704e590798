#!/usr/bin/env python3
"""Check that receipts are as the form, version 1, has them. Needs Python 3.8, and ssh-keygen for signatures; nothing else.

  conformance.py DIRECTORY [ALLOWED_SIGNERS]

DIRECTORY is what a client has fetched of /receipts, or of one directory in it: NAME.json, the receipts under their own names, and
a .sig of each. Prints one line for each thing that is wrong, and ends with status 1; with 0, and the number of receipts, if
nothing is; with 2 if there is nothing to check.
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

STATES = "received held released rejected processed taken replaced withdrawn quarantined expired lost".split()
ACTIONS = "none wait resend fix call".split()
ALWAYS_FINAL = "rejected taken replaced quarantined expired lost".split()
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
HASH = "[0-9a-f]{64}"
OWN_NAME = re.compile(r"(?P<name>.+)\.(?P<arrival>[0-9A-Z]{26})\.(?P<number>[1-9][0-9]*)-(?P<state>[a-z]+)\.json", re.DOTALL)
TEXTS = {
    "receipt": OWN_NAME.pattern,
    "gate": ".*",
    "user": ".+",
    "arrival": "[0-9A-Z]{26}",
    "name": "[^/]+",
    "path": "[^/].*",
    "sha256": HASH,
    "received_at": TIME,
    "at": TIME,
    "state": "|".join(STATES),
    "code": "[a-z]+(-[a-z]+)*",
    "action": "|".join(ACTIONS),
}


def in_form(said):
    """Yield what is wrong with the members of one receipt."""
    if said.get("format") != "sftpgate-receipt" or said.get("version") != 1:
        yield "format and version are not sftpgate-receipt and 1"
    for name, pattern in TEXTS.items():
        if not isinstance(said.get(name), str) or not re.fullmatch(pattern, said[name], re.DOTALL):
            yield f"{name} is not as it should be: {said.get(name)!r}"
    for name, least in (("number", 1), ("size", 0)):
        if type(said.get(name)) is not int or said[name] < least:
            yield f"{name} is no number from {least} on"
    if not isinstance(said.get("final"), bool):
        yield "final is neither true nor false"
    text = said.get("text")
    if not isinstance(text, dict) or not all(isinstance(text.get(language), str) and text[language] for language in ("en", "fr")):
        yield "text does not have both languages"
    if not isinstance(said.get("problems"), list):
        yield "problems is no list"
    if said.get("reference", 0) is not None and not isinstance(said.get("reference"), str):
        yield "reference is neither a text nor null"
    record = said.get("record")
    is_record = isinstance(record, dict) and type(record.get("number")) is int and re.fullmatch(HASH, str(record.get("hash")))
    if not is_record:
        yield "record has no number and hash"
    yield from in_agreement(said)


def in_agreement(said):
    """Yield where members of one receipt contradict each other."""
    if said.get("path", "").rpartition("/")[2] != said.get("name"):
        yield "name is not the last part of path"
    if said.get("state") in ALWAYS_FINAL and said.get("final") is not True:
        yield f"{said['state']} is final"
    if said.get("final") is True and said.get("action") == "wait":
        yield "it is final, and the sender is to wait"
    run = said.get("run")
    if said.get("state") == "processed" and not isinstance(run, dict):
        yield "it was processed, and there is no run"
    counts = [run.get(name) for name in ("accepted", "rejected", "rows")] if isinstance(run, dict) else [None]
    if None not in counts and counts[0] + counts[1] > counts[2]:
        yield "more rows were accepted and rejected than read"


def named(file, said):
    """Yield where the name of a file contradicts the receipt in it."""
    match = OWN_NAME.fullmatch(file.name)
    if match is None:
        if file.name != f"{said.get('name')}.json":
            yield "it is neither the newest of its name nor called by its arrival, number and state"
    elif file.name != said.get("receipt") or match["arrival"] != said.get("arrival") or match["state"] != said.get("state"):
        yield "its name is another one than it says"


def chained(receipts):
    """Yield where the receipts of one file, by number, are no chain."""
    for number in sorted(receipts):
        said, _ = receipts[number]
        before = receipts.get(number - 1)
        if number == 1 and said["previous"] is not None:
            yield said, "it is the first, and names one before it"
        if number > 1 and before is not None and said["previous"] != hashlib.sha256(before[1]).hexdigest():
            yield said, "it does not name the receipt before it"
        if before is not None and before[0]["record"]["number"] >= said["record"]["number"]:
            yield said, "it tells of something earlier than the receipt before it"


def newest(short, own):
    """Yield which NAME.json is not the newest of its name."""
    for name, content in short.items():
        numbers = {said["record"]["number"]: content for said, content in own if said["name"] == name}
        if numbers and content != numbers[max(numbers)]:
            yield f"{name}.json: it is not the newest receipt of its name"


def signed(file, signers):
    """Return whether ssh-keygen finds the signature beside a file good."""
    words = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "sftpgate", "-n", "sftpgate-receipt"]
    words += ["-s", str(file) + ".sig"]
    return subprocess.run(words, input=file.read_bytes(), capture_output=True, check=False).returncode == 0


def wrong(directory, signers):
    """Yield everything that is wrong, and at last the number of receipts."""
    own, short, by_arrival = [], {}, {}
    for file in sorted(Path(directory).glob("*.json")):
        content = file.read_bytes()
        try:
            said = json.loads(content)
        except ValueError:
            yield f"{file.name}: it is no JSON"
            continue
        problems = [*in_form(said), *named(file, said)] if isinstance(said, dict) else ["it is no JSON object"]
        if signers and not signed(file, signers):
            problems.append("its signature is missing, or not by an allowed signer")
        yield from (f"{file.name}: {problem}" for problem in problems)
        if problems:
            continue
        if OWN_NAME.fullmatch(file.name):
            own.append((said, content))
            by_arrival.setdefault(said["arrival"], {})[said["number"]] = (said, content)
        else:
            short[said["name"]] = content
    for receipts in by_arrival.values():
        yield from (f"{said['receipt']}: {problem}" for said, problem in chained(receipts))
    yield from newest(short, own)
    yield len(own)


def main(words):
    """Return the exit status."""
    if len(words) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    *found, count = wrong(words[0], words[1] if len(words) > 1 else None)
    for problem in found:
        print(problem)
    if not found:
        print(f"{count} receipts, and nothing is wrong with them" if count else "there are no receipts")
    return 1 if found else 0 if count else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
