"""Modules as data: making graphs of a module, comparing them with it, storing them, and running what was stored.

``ladder`` makes and compares (by ``exporting`` and ``verifying``); ``program`` and ``archive`` are the files;
``program_module`` stands in for a module whose source is gone.
"""
