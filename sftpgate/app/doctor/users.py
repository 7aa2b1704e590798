"""The check of ``sftpgate doctor`` on users: whether they can log in, with which keys, and whether nobody else can become one."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sftpgate.app.composition import name_rules
from sftpgate.app.doctor.findings import Finding, Findings, error, warning
from sftpgate.app.users.access import terms_of
from sftpgate.errors import UserFileError
from sftpgate.gateway.ssh.algorithms import profiles_with
from sftpgate.logs import printable
from sftpgate.policy.accounts import RESERVED_USER_NAMES, valid_user_name
from sftpgate.policy.login import LoginRefusal, key_weakness, signatures_of
from sftpgate.policy.methods import first_methods, required_of
from sftpgate.settings.choices import AuthMethod
from sftpgate.settings.tree import LEAST_RSA_BITS, Settings
from sftpgate.users.expiry import about_to_expire
from sftpgate.users.keys.authorized import AuthorizedKey
from sftpgate.users.keys.terms import KeyTerms
from sftpgate.users.last_whole import ACCESS_MEMORY, Memory
from sftpgate.users.modes import Unsafe, unsafe
from sftpgate.users.registry import User, UserRegistry


def check_users(settings: Settings, now: datetime) -> Findings:
    """Yield whether the users can log in, and nobody else can become one."""
    directory = settings.keys_dir / "users"
    registry = UserRegistry(settings.keys_dir, memory=Memory(settings.data_dir / ACCESS_MEMORY, keeps=False))
    if unsafe(settings.keys_dir, settings.keys_dir) is None:  # else that is what is to be said
        yield from _check_revocations(registry)
    if (above := unsafe(directory, settings.keys_dir)) is not None:
        yield _unsafe(above)
    names = registry.names()
    if not names:
        yield warning("users", "there is no user: nobody can log in", "sftpgate user add NAME --key FILE.pub")
        return
    for path in directory.iterdir():
        if path.is_dir() and not valid_user_name(path.name) and not path.name.startswith("."):
            yield warning(
                "users", f"{printable(path.name)} cannot be a user's name: the directory is ignored", "give it another name"
            )
    terms = terms_of(settings, registry)
    for name in names:
        if name in RESERVED_USER_NAMES:
            yield warning(
                "users",
                f"{name} is what people call somebody else who acts: the record tells them apart, a reader may not",
                f"make a user of another name for this sender, then sftpgate user remove {name}",
            )
        if (exposed := registry.unsafe(name)) is not None:
            if exposed != above:
                yield _unsafe(exposed)
            continue
        yield from _check_files(directory / name)
        try:
            user = registry.load(name)
        except (UserFileError, OSError) as problem:
            yield error("users", f"{name}: {problem}", "repair the file: until then nobody can log in as this user")
        else:
            if (doubt := registry.doubt(name)) is not None:
                yield error("users", f"{name}: {doubt}", "write the file anew, whole")
            yield from _check_user(user, settings, terms, now)


def _check_revocations(registry: UserRegistry) -> Findings:
    try:
        registry.revocations.load()
    except UserFileError as problem:
        what_to_do = "mend it; a server that starts meanwhile accepts no key at all"
        yield error("users", f"the list of revoked keys cannot be used: {problem}", what_to_do)


def _unsafe(found: Unsafe) -> Finding:
    return error("users", f"{found.path} {found.what}", found.what_to_do)


def _check_files(directory: Path) -> Findings:
    path = directory / "user.toml"
    if path.exists() and path.stat().st_mode & stat.S_IROTH:
        yield warning("users", f"{path} can be read by everybody: there may be a password's hash in it", f"chmod o-r {path}")


def _check_user(user: User, settings: Settings, terms: KeyTerms, now: datetime) -> Findings:
    if user.disabled:
        return
    for expiry in about_to_expire([user], now=now, within=timedelta(seconds=settings.expiry_warning), terms=terms):
        what = f"{user.name}: {expiry.fingerprint}" if expiry.fingerprint else user.name
        when = "has expired" if expiry.expired else f"expires on {expiry.expires_at:%Y-%m-%d}"
        yield warning("users", f"{what} {when}", expiry.what_to_do)
    if user.expires_at is not None and user.expires_at <= now:
        return
    for key in user.keys:
        yield from _check_key(f"{user.name}: {key.fingerprint}", user, key, settings, terms.refusal(key, now))
    if not terms.usable(user.keys, now) and user.password_hash is None and terms.revoked is not None:
        yield warning(
            "users",
            f"nobody can log in as {user.name}: it has no usable key and no password",
            f"sftpgate key add {user.name} FILE.pub, or sftpgate user passwd {user.name}",
        )
    yield from _check_methods(user, settings.required_auth)
    if name_rules(settings).locks_above(user.home):
        yield error(
            "users",
            f"nobody is served as {user.name}: its home {user.home} has the name of a batch lock (rule: a batch lock is a file)",
            f"write another home into the user.toml of {user.name}, and move the directory if there is one",
        )


def _check_key(what: str, user: User, key: AuthorizedKey, settings: Settings, refusal: LoginRefusal | None) -> Findings:
    """Yield what is to be said of one key, and the setting that would admit it."""
    if refusal is LoginRefusal.REVOKED_KEY:
        yield warning("users", f"{what} is revoked", f"sftpgate key remove {user.name} {key.fingerprint}")
    elif refusal is LoginRefusal.WEAK_KEY:
        weakness = key_weakness(key.type, key.bits, min_rsa_bits=settings.min_rsa_bits)
        admits = LEAST_RSA_BITS <= key.bits < settings.min_rsa_bits and key.type == "ssh-rsa"
        setting = f", or set min_rsa_bits to {key.bits}" if admits else ": no setting admits this one"
        yield warning("users", f"{what} is not accepted: {weakness}", f"have another key sent{setting}")
    elif refusal is LoginRefusal.WEAK_SIGNATURE:
        profile = profiles_with(signatures_of(key.type))[0]
        of = "certificates signed by" if key.cert_authority else "signatures of"
        found = f'{what} is not accepted: algorithms = "{settings.algorithms}" leaves out {of} {key.type} keys'
        yield warning("users", found, f'have an ed25519 key sent, or set algorithms to "{profile}"')
    for finding in key.findings:
        yield warning("users", f"{what}: {finding}", "change its line in authorized_keys")


def _check_methods(user: User, gate: Sequence[AuthMethod]) -> Findings:
    """Yield whether the user has what its logins take, and begins in a way that the gate offers."""
    required = required_of(user.required_auth, gate)
    if required and required[0] not in first_methods(gate):
        yield error(
            "users",
            f"nobody can log in as {user.name}: its required_auth begins with {required[0]}, and the gate's does not",
            "begin both with the same method",
        )
    for method, there in ((AuthMethod.PUBLICKEY, bool(user.keys)), (AuthMethod.PASSWORD, user.password_hash is not None)):
        if method in required and not there:
            yield warning(
                "users",
                f"nobody can log in as {user.name}: its logins take a {method}, and it has none (rule: required_auth)",
                f"sftpgate key add {user.name} FILE.pub, or sftpgate user passwd {user.name}",
            )
