"""Models of frameworks, recorded and read."""
