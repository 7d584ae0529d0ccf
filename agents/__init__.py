"""The behaviour of users, base stations and edge servers, and of the protocols that steer them.

Everything here is a pure state machine: told the time and what arrived, it answers what it wants
sent. The Ray actors that carry these nodes live in `emulator/runtime/`; what needs a
clock, a socket, a thread or a random source sends a message to a local address instead, and
importing one here fails `tests/test_arrows.py`.
"""
