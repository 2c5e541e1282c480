"""What classes declare that they accept, read and write, from source or from the live class, and what does not fit."""
