"""A grid of fits in one command: which runs there are, running them side by side, and their results as tables."""
