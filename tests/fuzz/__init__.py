"""Files and command lines at random: ``python -m tests.fuzz`` (``make fuzz MINUTES=10``)."""
