"""What can say what a network costs: it measures, or it estimates and says so."""
