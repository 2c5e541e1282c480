"""What a person sees while something runs: header, a line an epoch, live bar, summary.

One reporter for a terminal, a notebook and anything else, which gets plain lines. Everything goes to standard error;
results that people pipe on standard output stay theirs. ``rich`` is imported only where something is drawn.
"""
