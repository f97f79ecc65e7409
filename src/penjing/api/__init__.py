"""The few verbs a user calls."""
