"""Commands that look after many runs."""
