"""The loss around networks: between two of them."""
