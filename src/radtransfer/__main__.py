"""``python -m radtransfer`` is the command ``radtransfer``."""

from radtransfer.cli import main

if __name__ == "__main__":
    main()
