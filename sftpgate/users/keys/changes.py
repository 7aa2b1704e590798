"""Changes of keys, and of the text of an ``authorized_keys`` file.

What a change does not mean stays as it is, byte for byte: other lines, comments, encodings, line ends. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date, datetime

from sftpgate.errors import KeyRefused, NotFound
from sftpgate.logs import printable
from sftpgate.policy.login import pattern_problem
from sftpgate.users.keys.authorized import AuthorizedKey, parse_authorized_keys, parse_line, read_remark, remark
from sftpgate.users.keys.options import Option, written


def limited(
    key: AuthorizedKey,
    *,
    label: str | None = None,
    expires: date | None = None,
    from_patterns: Sequence[str] = (),
    authority: bool = False,
    principals: Sequence[str] = (),
) -> AuthorizedKey:
    """Return ``key`` with another label, or with limits added to those that it has.

    With ``authority`` it signs certificates, for ``principals`` if there are some, and logs nobody in itself. It is not
    accepted from the day ``expires`` on (UTC), nor from addresses that ``from_patterns`` do not match.
    Raises KeyRefused if a limit cannot be written.
    """
    if label is not None and not label.isprintable():
        raise KeyRefused("a label is one line of printable characters")
    for pattern in from_patterns:
        if problem := pattern_problem(pattern):
            raise KeyRefused(f"the address pattern {printable(pattern)} {problem}")
    if from_patterns and key.has_option("from"):
        raise KeyRefused("the key's line has a from= option already: change that one")
    if principals and key.has_option("principals"):
        raise KeyRefused("the key's line has a principals= option already: change that one")
    options = list(key.options)
    if authority and not key.cert_authority:
        options.append(("cert-authority", None))
    if principals:
        options.append(("principals", ",".join(principals)))
    if from_patterns:
        options.append(("from", ",".join(from_patterns)))
    if expires is not None:
        options.append(("expiry-time", f"{expires:%Y%m%d}Z"))
    return _with(key, options, key.comment if label is None else label)


def expiring(key: AuthorizedKey, at: datetime) -> AuthorizedKey:
    """Return ``key``, not accepted from ``at`` on (UTC, to the second), nor later than it was before."""
    if key.expires_at is not None and key.expires_at <= at:
        return key
    options = [option for option in key.options if option[0] != "expiry-time"]
    return _with(key, [*options, ("expiry-time", f"{at:%Y%m%d%H%M%S}Z")], key.comment)


def succeeding(new: AuthorizedKey, old: AuthorizedKey) -> AuthorizedKey:
    """Return ``new`` with what limits ``old``, but for its expiry: a key that takes the place of another must not be worth more.

    Limits of its own stay: each option of the new key counts instead of the old one's.
    """
    named = {name for name, _ in new.options}
    taken = [option for option in old.options if option[0] not in named | {"expiry-time"}]
    return _with(new, [*taken, *new.options], new.comment or old.comment) if taken or not new.comment else new


def with_key(text: str, key: AuthorizedKey, added_at: datetime) -> str:
    """Return ``text`` of an ``authorized_keys`` with a key more. One that does not end with a line end still does not.

    Raises KeyRefused if the key is there already.
    """
    if any(known.blob == key.blob for known in parse_authorized_keys(text)):
        raise KeyRefused(f"the user has the key {key.fingerprint} already")
    lines = text.split("\n")
    end = len(lines) if lines[-1] else len(lines) - 1
    lines[end:end] = [remark(key.fingerprint, added_at), key.line]
    return "\n".join(lines)


def without_key(text: str, fingerprint: str) -> tuple[str, AuthorizedKey]:
    """Return ``text`` without the lines of this key and the remark above them, and the key. Raises NotFound if it is not there.

    ``SHA256:`` may be left out.
    """
    wanted = full_fingerprint(fingerprint)
    removed = [key for key in parse_authorized_keys(text) if key.fingerprint == wanted]
    if not removed:
        raise NotFound("the user has no key with this fingerprint (`sftpgate key list` shows them)")
    kept = [line for line in text.split("\n") if not _is_of(line, wanted)]
    return "\n".join(kept), removed[0]


def with_expiry(text: str, blob: bytes, at: datetime) -> str:
    """Return ``text`` with each line of a key not accepted from ``at`` on, nor later than it was before."""
    lines = []
    for line in text.split("\n"):
        known = parse_line(line)
        if known is not None and known.blob == blob:
            line = expiring(known, at).line + ("\r" if line.endswith("\r") else "")
        lines.append(line)
    return "\n".join(lines)


def full_fingerprint(text: str) -> str:
    """Return a fingerprint as ``ssh-keygen -l`` writes it, of one that may lack its prefix."""
    return "SHA256:" + text.removeprefix("SHA256:").rstrip("=")


def _is_of(line: str, fingerprint: str) -> bool:
    said = read_remark(line)
    key = parse_line(line)
    return (said is not None and said[0] == fingerprint) or (key is not None and key.fingerprint == fingerprint)


def _with(key: AuthorizedKey, options: Sequence[Option], comment: str) -> AuthorizedKey:
    words = ",".join(map(written, options))
    parts = [words, key.type, base64.b64encode(key.blob).decode("ascii"), comment.strip()]
    made = parse_line(" ".join(part for part in parts if part))
    if made is None:  # cannot be: a line with a key type is no comment
        raise KeyRefused
    return made
