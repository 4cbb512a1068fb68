"""One cell on several devices: each process, a rank, computes its share of every batch, and gradients are added up.

The global batch, the learning rate, the order of the images, their flips and the noise are those of one process, so
that the number of devices changes no number but by rounding. Rank 0 alone owns the cell: it claims it, reads and
writes its folder, is asked to stop; the others follow it (`bench.devices.follow`).
"""
