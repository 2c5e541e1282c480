"""Variables of batches and of ``epoch_data``: reading them, and gathering them over an epoch."""
