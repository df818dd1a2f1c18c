"""Published figures, and what this program gives in their place."""
