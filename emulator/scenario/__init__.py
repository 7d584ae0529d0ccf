"""What a scenario says, and what it amounts to before anything runs."""
