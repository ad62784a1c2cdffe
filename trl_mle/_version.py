"""The version of this package: the only place in its source where it is written."""

__version__ = "0.1.0"
