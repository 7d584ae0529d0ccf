"""The world that the nodes of `agents` live in: time, radio, faults, inference, recording.

Import heavy things where they are used: `fresco check` and a run in virtual time start without
torch and ray.
"""
