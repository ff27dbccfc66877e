"""`python -m orchestration <command>`: what the Makefile calls."""

import sys

from orchestration.cli import main

sys.exit(main())
