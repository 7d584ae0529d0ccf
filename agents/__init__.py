"""The behaviour of users, base stations and edge servers, and of the protocols that steer them.

Everything here is a pure state machine: told the time and what arrived, it answers what it wants
sent. The Ray actors that carry these nodes live in `emulator/runtime/`; a clock, a socket, a thread
or a global random source in this package is a message that wants to be sent instead
(`tests/test_arrows.py` keeps it so).
"""
