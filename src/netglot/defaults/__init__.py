"""What frameworks do when told nothing, read from the running frameworks."""
