"""What people look at: terminal, report, comparisons, pictures."""
