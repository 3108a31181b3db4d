"""``python -m gnnlib`` is the command ``gnnlib``."""

from gnnlib.cli import main

if __name__ == "__main__":
    main()
