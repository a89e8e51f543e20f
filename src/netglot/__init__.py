"""One network, every deep-learning framework."""
