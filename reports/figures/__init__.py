"""The figures of a report: `registry` lists them, each family of figures has a module."""

import logging

# Without a writable home it makes a temporary folder for its fonts, which nobody need know.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
