"""Environments, and the processes in which a framework's programs run."""
