"""How many proofs a login takes, and which come first (setting ``required_auth``).

Pure. The gate's setting says how everybody begins, so what a client is offered does not depend on the user that it names.
A user's own list may ask for more; it begins with a method that the gate begins with.
"""

from __future__ import annotations

from collections.abc import Sequence

from sftpgate.settings.choices import AuthMethod as Method


def first_methods(gate: Sequence[Method]) -> frozenset[Method]:
    """Return what a client is offered first, whoever it says it is; an empty list stands for any one method."""
    return frozenset(gate[:1] or Method)


def required_of(user: Sequence[Method] | None, gate: Sequence[Method]) -> Sequence[Method]:
    """Return the methods that a user must prove, in order; None stands for a user that says nothing about it."""
    return gate if user is None else user


def may_try(method: Method, *, required: Sequence[Method], proven: Sequence[Method]) -> bool:
    """Return whether ``method`` is what comes next after ``proven``."""
    if not required:
        return not proven
    return len(proven) < len(required) and required[len(proven)] is method


def is_complete(*, required: Sequence[Method], proven: Sequence[Method]) -> bool:
    """Return whether ``proven`` is enough: everything required in its order, or one method if nothing special is."""
    return bool(proven) and (not required or tuple(proven) == tuple(required))


def remaining(*, required: Sequence[Method], proven: Sequence[Method]) -> frozenset[Method]:
    """Return what a client that has proven something may go on with."""
    return frozenset(required[len(proven) : len(proven) + 1])


def methods_problem(methods: Sequence[str]) -> str | None:
    """Return what is wrong with a list of methods, as words that follow its name; None for a good one."""
    if unknown := [method for method in methods if method not in set(Method)]:
        return f'knows "publickey" and "password", and not "{unknown[0]}"'
    if len(set(methods)) < len(methods):
        return "names a method twice"
    return None
