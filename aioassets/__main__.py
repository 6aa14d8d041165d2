"""`python -m aioassets` is `aioassets`."""

from aioassets.cli.app import main

if __name__ == "__main__":
    main()
