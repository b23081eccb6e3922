"""Programs that make data to try things out on."""
