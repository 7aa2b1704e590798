"""What a login proves, judged against the user's files as they are at this moment.

Asked when a key or certificate is offered, and again and again while a connection lasts: a proof that would not be accepted
any more ends it. The rules are ``policy``'s. Nothing here touches the disk or checks a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sftpgate.errors import KeyRefused
from sftpgate.logs import printable
from sftpgate.policy.certificates import certificate_refusal
from sftpgate.policy.login import LoginRefusal, account_refusal, key_refusal, revocation_refusal
from sftpgate.policy.methods import is_complete, required_of
from sftpgate.settings.choices import AuthMethod as Method
from sftpgate.users.keys.authorized import AuthorizedKey, fingerprint
from sftpgate.users.keys.certificates import Certificate, is_certificate, parse_certificate
from sftpgate.users.keys.formats import wire_type
from sftpgate.users.registry import User

_KEY_ID_CHARACTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One thing that a client proved: that it has a key, or knows a password."""

    method: Method
    login: str  # for the record: the key's fingerprint, or "password"
    at: datetime
    blob: bytes = field(default=b"", repr=False)  # the key or certificate, as the client offered it
    password_hash: str | None = field(default=None, repr=False)
    line: str = ""  # the fingerprint of the line in authorized_keys that lets it in


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to be said of an offered key. If ``refusal`` is None, ``line`` is what lets it in."""

    refusal: LoginRefusal | None
    login: str
    line: AuthorizedKey | None = None
    certificate: Certificate | None = None


def judge_key(
    name: str,
    user: User | None,
    blob: bytes,
    *,
    address: str,
    now: datetime,
    issued: datetime,
    min_rsa_bits: int,
    revoked: Container[bytes] | None,
) -> Judgement:
    """Return whether ``user``, whom the client calls ``name``, may log in with the key or certificate in ``blob``.

    ``issued``: see ``certificate_refusal``; ``revoked``: see ``revocation_refusal``. Raises nothing for any blob.
    """
    refusal = account_refusal(user, address=address, now=now)
    try:
        certificate = parse_certificate(blob) if is_certificate(wire_type(blob)) else None
    except KeyRefused:
        return Judgement(refusal=refusal or LoginRefusal.UNREADABLE_KEY, login=fingerprint(blob))
    if certificate is None:
        refusal = refusal or revocation_refusal(blob, None, revoked)
        refused, line = _first_that_fits(
            user.lines_of_key(blob) if user is not None else [],
            lambda line: key_refusal(line, address=address, now=now, min_rsa_bits=min_rsa_bits),
        )
        refusal = refusal or refused
        return Judgement(refusal=refusal, login=fingerprint(blob), line=line)
    known = certificate
    refusal = refusal or revocation_refusal(certificate.key_blob, certificate.authority_blob, revoked)
    refused, authority = _first_that_fits(
        user.lines_of_authority(certificate.authority_blob) if user is not None else [],
        lambda line: certificate_refusal(
            known, line, user=name, address=address, now=now, issued=issued, min_rsa_bits=min_rsa_bits
        ),
    )
    refusal = refusal or refused
    key_id = printable(certificate.key_id[:_KEY_ID_CHARACTERS])
    return Judgement(
        refusal=refusal,
        login=f"{fingerprint(certificate.key_blob)} (certificate {key_id}, serial {certificate.serial}, "
        f"of {fingerprint(certificate.authority_blob)})",
        line=authority,
        certificate=certificate,
    )


def _first_that_fits(
    lines: Sequence[AuthorizedKey], refusal_of: Callable[[AuthorizedKey | None], LoginRefusal | None]
) -> tuple[LoginRefusal | None, AuthorizedKey | None]:
    """Return the first of a key's lines that lets it in, as OpenSSH tries each; if none does, the first with its refusal."""
    refusals = [(refusal_of(line), line) for line in lines]
    return next((found for found in refusals if found[0] is None), refusals[0] if refusals else (refusal_of(None), None))


def end_reason(
    user: User | None,
    at_login: User,
    proofs: Sequence[Proof],
    *,
    gate_methods: Sequence[Method],
    address: str,
    now: datetime,
    min_rsa_bits: int,
    revoked: Container[bytes] | None,
) -> str | None:
    """Return why a connection that logged in with ``proofs`` must end, for the log; None if it may stay.

    ``user`` is the user as it is now, ``at_login`` as it was.
    """
    if refusal := account_refusal(user, address=address, now=now):
        return refusal
    assert user is not None  # account_refusal says no to None
    if user is at_login:
        # only time, or the list of revoked keys, can have changed something
        proofs = [proof for proof in proofs if proof.method is Method.PUBLICKEY]
    if user.home != at_login.home:
        return "the user's home was changed"
    for proof in proofs:
        if proof.method is Method.PASSWORD:
            if proof.password_hash != user.password_hash:
                return "the password was changed"
            continue
        judged = judge_key(
            user.name,
            user,
            proof.blob,
            address=address,
            now=now,
            issued=proof.at,
            min_rsa_bits=min_rsa_bits,
            revoked=revoked,
        )
        if judged.refusal is not None:
            return judged.refusal
    if user is not at_login and not is_complete(
        required=required_of(user.required_auth, gate_methods), proven=[proof.method for proof in proofs]
    ):
        return LoginRefusal.METHOD_NOT_ACCEPTED
    return None
