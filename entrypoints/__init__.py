"""The MLproject entry points: each parses its command line, calls the stage, and returns an exit status."""
