"""How a graph learns: means of losses, the optimizer's step, schedules; and what looks on."""
