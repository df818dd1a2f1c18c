"""Everything that touches Lightning's internals."""
