"""`python -m sparsity`."""

from sparsity.cli import main

if __name__ == "__main__":
    main()
