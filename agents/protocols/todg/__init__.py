"""The core of TODG, not yet a protocol: conflict graph, distributed channel allocation, queues.

Pure functions and state machines with tests and `benchmarks/todg.py`; no scenario runs them yet.
"""
