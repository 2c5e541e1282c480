"""Statistics of variables, computed in memory that does not grow with the epoch where possible."""
