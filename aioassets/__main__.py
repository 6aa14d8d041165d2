"""Entry point for `python -m aioassets`."""

from aioassets.cli.app import main

if __name__ == "__main__":
    main()
