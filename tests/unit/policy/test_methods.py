from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import UserFileError
from sftpgate.policy.methods import first_methods, is_complete, may_try, remaining
from sftpgate.settings.choices import AuthMethod as Method
from sftpgate.users.accounts import parse_account

LISTS = st.lists(st.sampled_from(Method), unique=True)


@given(LISTS)
def test_a_login_follows_the_list(required: list[Method]) -> None:
    """Whoever proves what is offered, one after the other, gets in after the last of the list and not before."""
    proven: list[Method] = []
    offered = first_methods(required)
    for number in range(len(required) or 1):
        assert not is_complete(required=required, proven=proven)
        [method] = required[number : number + 1] or [min(offered)]
        assert method in offered
        assert may_try(method, required=required, proven=proven)
        proven.append(method)
        offered = remaining(required=required, proven=proven)
    assert is_complete(required=required, proven=proven)
    assert not offered


@given(LISTS, st.lists(st.sampled_from(Method)))
def test_nothing_else_is_a_login(required: list[Method], proven: list[Method]) -> None:
    """What is complete is the whole list in its order, or one method where there is no list."""
    whole = proven == required if required else len(proven) > 0
    assert is_complete(required=required, proven=proven) is (whole and bool(proven))


@pytest.mark.parametrize("value", ['"publickey"', "[1]", '["hostbased"]', '["password", "password"]', '["PublicKey"]'])
def test_lists_that_mean_nothing(value: str) -> None:
    """A required_auth that cannot be kept is an error, so that nobody gets in by less."""
    with pytest.raises(UserFileError, match="required_auth"):
        parse_account(f"required_auth = {value}")
