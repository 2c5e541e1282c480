"""The command that predicts from files, and the files that it reads and writes."""
