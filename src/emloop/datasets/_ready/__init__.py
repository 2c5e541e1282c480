"""What the ready datasets share: dividing, ordering and transforming examples; items in files, tables, caches."""
