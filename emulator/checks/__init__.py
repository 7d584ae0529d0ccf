"""What people wrote, read with positions, and everything that is wrong with it."""
