"""Plot functions: an ``Axes`` and arrays or tables in, the same ``Axes`` out."""
