"""`python -m sparsity`."""

import sys

if __name__ == "__main__":
    try:
        from sparsity.cli import main  # takes seconds, in which a user may already press Ctrl-C

        main()
    except KeyboardInterrupt:
        sys.exit(130)
