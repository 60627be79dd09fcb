"""The version, alone in a file so that the package's metadata can be read without its imports."""

__version__ = "0.5.0"
