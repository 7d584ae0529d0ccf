"""The networks that offloaded tasks run: data, training, shipped weights, measured latency.

Knows nothing of the emulator. torch is imported only by modules that build, train or run networks,
and inside `zoo.load`; the rest starts without it.
"""
