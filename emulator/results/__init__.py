"""What a run leaves behind: the journal, and everything that is a fold of it."""
