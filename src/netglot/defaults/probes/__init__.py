"""Scripts that run in a framework's interpreter: NumPy, the framework, no netglot."""
