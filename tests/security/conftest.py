"""Gates for the security tests: those of the protocol tests, which see everything that a gate logs."""

from __future__ import annotations

from tests.protocol.conftest import gate, gate_keys, start

__all__ = ["gate", "gate_keys", "start"]
