"""The MLproject entry points: each declares its command line, and names the function that does the work."""
