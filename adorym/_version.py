"""The one place that holds the version; `setup.py`, the command line and every result's provenance read it here."""

__version__ = "0.2.0"
