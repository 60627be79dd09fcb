"""The tests. Imported before torch, whose waiting threads then do not spin for long."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
