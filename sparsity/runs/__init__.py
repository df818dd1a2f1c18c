"""A run's folder: its paths, its summary, its settings, its history and its curves."""
