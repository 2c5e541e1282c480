"""Modules as data: make graphs of a module, verify them against it, store them, and run what was stored.

``ladder`` makes and verifies graphs (with ``exporting`` and ``verifying``); ``program`` and ``archive`` are the files;
``program_module`` stands in for a module whose source is gone.
"""
