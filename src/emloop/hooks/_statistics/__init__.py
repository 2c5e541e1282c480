"""Statistics of variables over an epoch, in memory that does not grow with it where that is possible."""
