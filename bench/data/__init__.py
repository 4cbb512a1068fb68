"""Official layouts on disk -> uint8 arrays -> batches."""
