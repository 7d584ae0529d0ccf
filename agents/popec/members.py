"""What a resource of PoPeC knows of the users that joined it.

Source: docs/popec.md, Who solves what.
"""

import numpy as np

from agents.messages import Join, NodeId


class Members:
    """What a resource knows of the users that joined it: one column of numbers each.

    Many attributes: each column is an array, so that a projection is a few array operations.
    """

    def __init__(self) -> None:
        self.names: list[NodeId] = []
        self.vias: list[NodeId] = []  # the base station that the last message came past
        self._index: dict[NodeId, int] = {}
        self.classes = np.zeros(0, dtype=np.int64)
        self.seqs = np.zeros(0, dtype=np.int64)
        self.rounds_old = np.zeros(0, dtype=np.int64)  # since the ask in use came
        self.weights = np.zeros(0)
        self.success = np.zeros(0)
        self.asked_hz = np.zeros(0)
        self.penalties = np.zeros(0)
        self.urgencies = np.zeros(0)
        self.heard_s = np.zeros(0)
        self.rates_hz = np.zeros(0)  # z
        self.waits_s = np.zeros(0)
        self.reported_hz = np.zeros(0)
        self.is_live = np.zeros(0, dtype=bool)
        self.is_fresh = np.zeros(0, dtype=bool)

    def index(self, name: NodeId) -> int | None:
        return self._index.get(name)

    def join(self, name: NodeId, via: NodeId, join: Join) -> int:
        """Takes a user in. A join that comes again, or after an ask, changes no ask."""
        i = self._index.get(name)
        if i is None:
            i = self._index[name] = len(self.names)
            self.names.append(name)
            self.vias.append(via)
            for field in _COLUMNS:
                setattr(self, field, np.append(getattr(self, field), 0).astype(_COLUMNS[field]))
            self.penalties[i] = 1.0
            self.is_live[i] = True  # whoever joined will be waited for
        self.vias[i] = via
        self.classes[i], self.weights[i] = join.priority, join.weight
        self.success[i] = join.success
        return i


_COLUMNS: dict[str, type] = {
    **dict.fromkeys(("classes", "seqs", "rounds_old"), np.int64),
    **dict.fromkeys(("weights", "success", "asked_hz", "penalties", "urgencies"), np.float64),
    **dict.fromkeys(("heard_s", "rates_hz", "waits_s", "reported_hz"), np.float64),
    **dict.fromkeys(("is_live", "is_fresh"), np.bool_),
}
