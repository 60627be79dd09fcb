"""``python -m pyro_vae`` is ``pyro-vae``."""

import os
import sys

# With -m the current folder comes first on the path: a folder of the user's that is called
# "analysis" or "experiments" would stand in for the installed one.
_here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if sys.path and os.path.abspath(sys.path[0] or os.curdir) != _here:
    del sys.path[0]

from pyro_vae.cli import main  # noqa: E402 - the path comes first

sys.exit(main())
