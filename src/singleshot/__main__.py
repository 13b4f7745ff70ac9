"""`python -m singleshot` is `ssd`."""

from singleshot.cli.main import main

if __name__ == "__main__":
    main()
