"""What cells will take, from miniatures of them that are run for a few seconds: `bench run --dry-run`.

    signature      what of a configuration decides what a cell costs; cells that share one are measured once
    measurement    the parts of a cell's time and memory, and how they add up to a whole cell's
    stopwatch      from the times at which a running cell asks whether to stop to those parts
    miniatures     runs them, in a process of its own; the only one that needs torch
    scenery        the images, nobody who watches, the memory taken
    asking         starts that process, within a budget of seconds
    kept           measurements in the cache folder, so that the next dry run is instant

    check          measures ten cells, runs them, and compares: `python -m bench.micro.check`

A miniature is the cell itself, run by `bench.launch.cell` with everything in force that would be, on few random
images and in a folder that is gone afterwards: nothing is imitated, so nothing can be forgotten.
"""
