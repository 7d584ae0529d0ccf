"""What can break: faults, whom they hit, how they fold, and orders over time."""
