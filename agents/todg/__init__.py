"""Slots shared out by schedule: the roles of a network whose base stations agree, slot by slot,
on who may send what over which channel to which server.

The mechanics of one slot are in `user.py`, `cell.py` and `server.py`; what is public knowledge in
`frame.py`; what a protocol decides, in one class, in `discipline.py`.
"""
