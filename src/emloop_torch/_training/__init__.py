"""How a module learns, apart from the module: optimizers, schedules, clipping, accumulation, and looking on."""
