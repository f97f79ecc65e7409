"""The loop: run directories, measure and adjust, resume."""
