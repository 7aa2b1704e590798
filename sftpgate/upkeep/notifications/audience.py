"""Who is told, as the settings say it: receivers, their lanes, and the rules that name them.

Made once from the settings; whoever needs another one after a reload makes a new process. Senders are looked up when they are
told, so that an address in ``user.toml`` holds at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from sftpgate.errors import SettingsError
from sftpgate.policy.event_texts import FAMILIES, known_kinds
from sftpgate.policy.notification_rules import Quiet, Rule, unknown_patterns
from sftpgate.settings.choices import Language
from sftpgate.settings.notify import DAYS, SENDERS, NotifySettings, ReceiverSettings, quiet_times

MAIL_LANE = "@mail"  # all mail goes through one server; no receiver is called so
USER = "user:"  # before the name of a sender, in place of an address
GATHERED = {"mail": timedelta(minutes=1), "chat": timedelta(minutes=1)}  # what people read comes once a minute at most


@dataclass(frozen=True, slots=True)
class Correspondent:
    """Where a sender is written to, and in which language."""

    address: str
    language: Language


SenderOf = Callable[[str], Correspondent | None]  # by the name of a user; None: the sender is not written to


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Somebody who is told. ``recipients``: one message for each; one that is empty, if there is but one."""

    name: str
    lane: str
    recipients: tuple[str, ...]
    gathered: timedelta
    quiet: Quiet | None
    language: Language
    settings: ReceiverSettings | None  # None: the senders


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Everybody who is told, and of what."""

    settings: NotifySettings
    rules: tuple[Rule, ...]
    receivers: Mapping[str, Receiver]

    @property
    def lanes(self) -> dict[str, Receiver | None]:
        """Return the lanes, each with its receiver; None for the mail server, which is many's."""
        found: dict[str, Receiver | None] = {}
        for receiver in self.receivers.values():
            found[receiver.lane] = None if receiver.lane == MAIL_LANE else receiver
        return found


def audience_of(settings: NotifySettings, language: Language) -> Audience:
    """Return whom these settings name. Raises SettingsError if a rule names an event that there is not."""
    rules = tuple(
        Rule(
            name=name,
            events=rule.events,
            users=rule.users,
            tools=rule.tools,
            to=rule.to,
            digest=None if rule.digest is None else timedelta(seconds=rule.digest),
            urgent=rule.urgent,
        )
        for name, rule in settings.rules.items()
    )
    for rule in rules:
        _require_known(rule)
    receivers = {name: _receiver(name, each, settings, language) for name, each in settings.to.items()}
    if settings.mail is not None:
        receivers[SENDERS] = Receiver(
            name=SENDERS,
            lane=MAIL_LANE,
            recipients=(),
            gathered=GATHERED["mail"],
            quiet=None,
            language=language,
            settings=None,
        )
    return Audience(settings=settings, rules=rules, receivers=receivers)


def _receiver(name: str, settings: ReceiverSettings, all_of: NotifySettings, language: Language) -> Receiver:
    return Receiver(
        name=name,
        lane=MAIL_LANE if settings.mail else name,
        recipients=settings.mail or ("",),
        gathered=GATHERED.get(settings.way, timedelta(0)),
        quiet=_quiet(settings, all_of.timezone),
        language=Language(settings.language) if settings.language else language,
        settings=settings,
    )


def _quiet(settings: ReceiverSettings, zone: str) -> Quiet | None:
    if not settings.quiet_hours and not settings.quiet_days:
        return None
    begin, end = quiet_times(settings.quiet_hours) or (None, None)
    days = frozenset(DAYS.index(day) for day in settings.quiet_days)
    return Quiet(begin=begin, end=end, days=days, zone=ZoneInfo(zone))


def _require_known(rule: Rule) -> None:
    """Raise SettingsError if a rule names an event that there is not: somebody would wait for it for ever."""
    import difflib

    known = known_kinds()
    others = [pattern for pattern in rule.events if not pattern.startswith(FAMILIES)]
    for pattern in unknown_patterns(others, known):
        close = difflib.get_close_matches(pattern, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else " (docs/notifications.md lists them)"
        raise SettingsError(f"notify.rules.{rule.name}.events: there is no event {pattern}{hint}")
