"""What shells need."""
