"""Which ArviZ the tests run with."""

from importlib import metadata

OLD_ARVIZ = metadata.version("arviz").startswith("0.")  # with InferenceData; 1.x has DataTree
