"""A rank that follows and comes to a bad end at its second step: `python -m tests.failing_follower HOW ...`."""

import os
import signal
import sys

from bench.devices import follow
from bench.train import Steps

how, words = sys.argv[1], sys.argv[2:]
whole = Steps.next


def fail(self):
    if self.done == 0:
        # As a method of somebody else's may: a number is a line of JSON, and neither is a message.
        print(7, flush=True)
        print("a word of the method", flush=True)
    if self.done == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("this rank cannot")
    return whole(self)


Steps.next = fail
sys.exit(follow.main(words))
