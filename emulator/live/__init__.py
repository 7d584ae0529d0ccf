"""What people ask of a run while it goes on: HTTP, page, metrics."""
