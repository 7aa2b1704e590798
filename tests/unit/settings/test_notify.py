"""The tables that say who is told of what: what is wrong with them is said by key, and no secret is ever repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpgate.errors import SettingsError
from sftpgate.settings.choices import Language
from sftpgate.settings.mail_addresses import address_problem
from sftpgate.settings.reading import of_text
from sftpgate.settings.tree import Settings
from sftpgate.upkeep.notifications.audience import audience_of
from tests.harness.notified import HMAC_KEY

SECRET = "whsec_do-not-show-me"
MAIL = '[notify.mail]\nhost = "mx.example"\nsender = "gate@school.example"\n'
HOOK = f'[notify.to.hook]\nurl = "https://hooks.example/s3cret"\nkeys = ["{HMAC_KEY}"]\n'
RULE = '[notify.rules.all]\nevents = "arrival.*"\nto = "hook"\n'


def load(text: str, directory: Path) -> Settings:
    """The settings of a TOML text."""
    loaded = of_text(text, directory / "sftpgate.toml")
    audience_of(loaded.notify, Language.ENGLISH)
    return loaded


def test_a_whole_table(tmp_path: Path) -> None:
    """Receivers of each way, rules and a mail server are read; files are relative to the settings' directory."""
    text = (
        f'[notify]\nname = "School"\ntimezone = "Europe/Paris"\nallowed_networks = "10.0.0.0/8"\n{MAIL}password_file = "pw"\n'
        f'user = "gate"\n{HOOK}{RULE}digest = "1h"\n[notify.to.admins]\nmail = "it@school.example"\nquiet_hours = "20:00-07:00"\n'
        'quiet_days = ["sat"]\n[notify.to.script]\ncommand = ["/usr/bin/logger"]\n[notify.to.chat]\nchat = "json://localhost"\n'
    )
    notify = load(text, tmp_path).notify
    assert notify.is_wanted and notify.mail is not None and notify.mail.password_file == tmp_path / "pw"
    assert {name: receiver.way for name, receiver in notify.to.items()} == {
        "hook": "webhook", "admins": "mail", "script": "command", "chat": "chat",
    }  # fmt: skip
    assert notify.rules["all"].digest == 3600
    assert not Settings().notify.is_wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{HOOK}{RULE.replace("hook", "hok")}', "rules.all.to: there is no receiver hok; did you mean hook?"),
        (f"{HOOK}{RULE.replace('arrival.*', 'arival.held')}", "there is no event arival.held; did you mean arrival.held?"),
        (f"{HOOK}{RULE}ussers = 'erp'\n", "unknown key notify.rules.all.ussers; did you mean users?"),
        ('[notify.to.a]\nmail = "it@school.example"\n', "to.a needs a mail server"),
        (f'{HOOK}[notify.rules.s]\nevents = "arrival.held"\nto = "senders"\n', "rules.s needs a mail server"),
        (f'{MAIL}[notify.to.a]\nmail = "it@school.example\\nBcc: x@y.example"\n', "has a blank, a line end"),
        (f'{MAIL}[notify.to.a]\nmail = "nobody"\n', "no mail address"),
        (f'{MAIL}[notify.to.senders]\nmail = "it@school.example"\n', "this name means the senders"),
        ("[notify.to.a]\n", "one of mail, url, command and chat says how"),
        ('[notify.to.a]\nurl = "https://x.example/"\n', "a webhook needs keys"),
        (f'[notify.to.a]\nurl = "ftp://x.example/s3cret"\nkeys = ["{HMAC_KEY}"]\n', "begins with https://"),
        (f'[notify.to.a]\nurl = "https://u:s3cret@x.example/"\nkeys = ["{HMAC_KEY}"]\n', "name or password in it"),
        (f'[notify.to.a]\nurl = "https://x.example/"\nkeys = ["{SECRET}"]\n', "not the base64 of a key"),
        ('[notify.to.a]\nurl = "https://x.example/"\nkeys = ["s3cret"]\n', "sftpgate notify key"),
        (f'{MAIL}[notify.to.a]\nmail = "a@b.example"\nquiet_hours = "20-7"\n', 'write hours such as "20:00-07:00"'),
        (f'{MAIL}[notify.to.a]\nmail = "a@b.example"\nquiet_days = "mon tue wed thu fri sat sun"\n', "every day is quiet"),
        ('[notify]\ntimezone = "Europe/Pariss"\n', "there is no time zone 'Europe/Pariss'"),
        ('[notify]\nallowed_networks = "10.0.0.1/8"\n', "no address and no network"),
        (f'{MAIL}user = "gate"\npassword = "s3cret"\nsecurity = "none"\n', "not sent without encryption"),
        (f'{MAIL}password = "s3cret"\npassword_file = "pw"\n', "give one of them"),
        (f'{MAIL}passwort = "s3cret"\n', "unknown key notify.mail.passwort; did you mean password"),
        (f'{MAIL}port = "s3cret-in-the-wrong-place"\n', "notify.mail.port"),
    ],
)  # fmt: skip
def test_bad_tables(text: str, said: str, tmp_path: Path) -> None:
    """What is wrong is said in one line that names the key, and repeats neither keys nor URLs nor passwords."""
    with pytest.raises(SettingsError) as caught:
        load(text, tmp_path)
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert "s3cret" not in caught.value.message.replace("s3cret-in-the-wrong-place", "") and SECRET not in caught.value.message


def test_secrets_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password may come from the environment, and is not shown with the settings."""
    monkeypatch.setenv("SFTPGATE_NOTIFY__MAIL__PASSWORD", "s3cret")
    loaded = load(f'{MAIL}user = "gate"\n', tmp_path)
    assert loaded.notify.mail is not None and loaded.notify.mail.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(loaded) and "s3cret" not in str(loaded.model_dump())


@pytest.mark.parametrize(
    ("address", "is_good"),
    [
        ("it@school.example", True), ("a.b+c@x-y.example", True), ("root@localhost", True), ("a@b@c.example", False),
        ("a b@c.example", False), ("a@c.example\n", False), ("a@-c.example", False), ("@c.example", False), ("a@", False),
        ("é@c.example", False), ("a@école.example", False), (".a@c.example", False), ("a" * 65 + "@c.example", False),
        ('"a b"@c.example', False), ("a@c..example", False), ("<a@c.example>", False), ("a@c.example,b@c.example", False),
    ],
)  # fmt: skip
def test_mail_addresses(address: str, is_good: bool) -> None:
    """An address that mail servers take is taken, and nothing that could be more than one, or a header."""
    assert (address_problem(address) is None) is is_good
