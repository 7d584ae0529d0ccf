"""Speed comparisons with their commands; see README.md here."""
