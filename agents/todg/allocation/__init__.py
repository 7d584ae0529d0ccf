"""Who may send on which channel: independent sets of a conflict graph, found by the cells."""
