"""The verbs of `fresco`."""
