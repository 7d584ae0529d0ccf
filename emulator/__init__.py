"""The world that the nodes of `agents` live in: time, radio, faults, inference, recording.

Import heavy things where they are used: `fresco check` and a run in virtual time start without
torch and ray.
"""

import os

# The protocols' matrices are small: a second BLAS thread only spins, on a core that hosts need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
