"""`python -m sparsity`."""

import sys

if __name__ == "__main__":
    try:
        from sparsity.cli import main

        main()  # imports for seconds, in which a user may already press Ctrl-C
    except KeyboardInterrupt:
        sys.exit(130)
