"""Contracts: what a command file should be, checked before anyone acts on it.

A contract is a table of the settings (``[tools.NAME.contract]``). ``judge`` holds a file against it: one pass over the bytes, in
bounded memory, and every objection in the words of ``objections``. Nothing here knows of arrivals: a file is a stream of bytes.
"""
