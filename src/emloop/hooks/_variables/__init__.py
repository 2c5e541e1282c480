"""Reading variables from batches and from ``epoch_data``, and gathering them over an epoch."""
