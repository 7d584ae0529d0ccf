"""The world that the nodes of `agents` live in: time, radio, faults, inference, recording.

From Python, `emulator.run("quickstart", seed=1)` returns the `Result` of a run, and a `Session` is
a run that goes step by step.

Import heavy things where they are used: `fresco check` and a run in virtual time start without
torch and ray.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulator.runtime.result import Result, run
    from emulator.runtime.session import Session

__all__ = ["Result", "Session", "run"]

# The protocols' matrices are small: a second BLAS thread only spins, on a core that hosts need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def __getattr__(name: str) -> Any:
    if name == "Session":
        from emulator.runtime.session import Session

        return Session
    if name in __all__:
        from emulator.runtime import result

        return getattr(result, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
