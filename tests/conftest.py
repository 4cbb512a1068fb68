import os

# One thread a test process: bits differ between one and two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
