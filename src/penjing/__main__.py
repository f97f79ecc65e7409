"""`python -m penjing` is `penjing`."""

import sys

from penjing.cli import main

sys.exit(main())
