"""The command line: commands, what they print, and the live view of a run."""
