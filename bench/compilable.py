"""Whether a machine compiles all that is written in C. No torch."""

from bench import channels, products, tiles
from bench.compiled import NoCompiler


def why_missing() -> str:
    """Why something cannot be compiled here, as the compiler says; "" if all can be.

    One compiler may take one source and refuse another: gcc before 9 has not all that `channels.c` asks for.
    """
    try:
        for part in (tiles, products, channels):
            part.library()
    except NoCompiler as error:
        return str(error)
    return ""
