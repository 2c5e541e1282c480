"""From files, an ``eval`` section and overrides to one tree of nodes, and from there to a configuration."""
