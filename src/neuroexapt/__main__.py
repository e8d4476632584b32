"""`python -m neuroexapt` is the command `neuroexapt`."""

import sys

from neuroexapt.cli import main

sys.exit(main())
