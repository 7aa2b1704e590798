"""Kinds of values that several settings have: how each is written, and what it may be."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from sftpgate.settings.choices import AuthMethod

Mode = Annotated[int, BeforeValidator(lambda value: int(value, 8) if isinstance(value, str) else value), Field(ge=0, le=0o777)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(lambda value: value.split() if isinstance(value, str) else value)]


def _each_once(methods: tuple[AuthMethod, ...]) -> tuple[AuthMethod, ...]:
    if len(set(methods)) < len(methods):
        raise ValueError("a method is named twice")
    return methods


Methods = Annotated[
    tuple[AuthMethod, ...],
    NoDecode,
    BeforeValidator(lambda value: value.split() if isinstance(value, str) else value),
    AfterValidator(_each_once),
]


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(f"{network} is no address and no network such as 192.0.2.0/24") from error
    return value


Networks = Annotated[Names, AfterValidator(_networks)]
