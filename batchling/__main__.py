"""`python -m batchling` is `batchling`."""

from __future__ import annotations

import sys

from batchling.cli import main

sys.exit(main())
