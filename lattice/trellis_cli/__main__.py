"""`python -m trellis_cli`."""

from trellis_cli.main import main

if __name__ == "__main__":
    main()
