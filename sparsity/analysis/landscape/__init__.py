"""The loss around networks: between two of them, and next to one."""
