"""What a sender has to do about its file, in one word that its program can act on. Pure."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What the sender does next."""

    NONE = "none"  # nothing: the file has had its turn
    WAIT = "wait"  # nothing yet: it goes on by itself, or waits for something that the sender is about to do
    RESEND = "resend"  # send the same file again
    FIX = "fix"  # correct something, and send it again
    CALL = "call"  # ask the people who run the server
