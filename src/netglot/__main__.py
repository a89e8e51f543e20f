"""``python -m netglot``."""

from netglot.cli import main

if __name__ == "__main__":
    main()
