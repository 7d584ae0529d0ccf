"""From a scenario to the nodes and links of a run."""
