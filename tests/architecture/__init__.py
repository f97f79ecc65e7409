"""The shape of the package itself: imports, names, what loads when."""
