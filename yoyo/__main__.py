"""`python -m yoyo`."""

from yoyo.cli.main import main

main()
