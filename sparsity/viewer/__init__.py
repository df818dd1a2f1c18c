"""A network as a picture that can be asked: its units as dots, its kept weights as lines."""
