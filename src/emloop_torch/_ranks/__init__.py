"""Several processes that train one model: how they find one another, and what they compute together."""
