"""Commands that make something else of trained models: files for other runtimes, compared with them; ensembles."""
