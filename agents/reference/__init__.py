"""What sees the whole network, which no node may: problems, optima, plans made before a run."""
