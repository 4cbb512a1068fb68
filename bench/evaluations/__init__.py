"""What judges a finished pretraining beside the probe: one function and one row of the registry each."""
