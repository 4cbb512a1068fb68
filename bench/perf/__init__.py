"""How fast this machine computes, against the plain path and against its own ceiling, measured side by side.

    pretrain       a step of a pretraining: plain, fast, with each switch turned, beside its convolutions alone
    turns          what takes turns in it, in this process and in others beside it
    authors        the step of the authors' code, from a clone (`clone` says whether it is one)
    probe          a probe: features recomputed each epoch, computed once, and the fast way
    together       several seeds at once, one after another, and in processes
    reading        images in shuffled batches, and `preparing` them
    loading        images that stay compressed, beside timm's loader
    whole          two runs of a whole table, by kind of cell

`bench perf` alone measures pretrain and probe; `facts` is what they leave, `shown`, `roofline` and `compare` read it.
"""
