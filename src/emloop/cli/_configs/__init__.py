"""Commands that look at configs, or write them."""
