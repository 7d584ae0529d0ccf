"""The networks that offloaded tasks run: data, training, shipped weights, measured latency.

Knows nothing of the emulator. torch is imported by `networks.py`, `engine.py` and `train.py`
only, and inside `zoo.load`; the rest starts without it.
"""
