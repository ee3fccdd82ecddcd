"""`python -m salsanity` is `salsanity`."""

from salsanity.cli.app import main

main()
