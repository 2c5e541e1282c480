"""A batch on its way through a model: what the model takes and gives, its losses, its predictions."""
