"""``make bench``: the benchmarks that need nothing but this project, one after the other; others if they are named."""

import runpy
import sys

__all__: list[str] = []

BENCHMARKS = ("bulk", "drain", "listing", "pickup", "recovery", "timing")
#: These need wrk, and ``submit`` Node and npm as well.
WITH_PEERS = ("streams", "submit")


def main() -> None:
    """Run those named on the command line, or all that need nothing else."""
    chosen = sys.argv[1:] or BENCHMARKS
    known = (*BENCHMARKS, *WITH_PEERS)
    if unknown := [name for name in chosen if name not in known]:
        sys.exit(f"no benchmark {', '.join(unknown)}: there are {', '.join(known)}")
    for name in chosen:
        print(f"\n=== {name}", flush=True)
        sys.argv = [name]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
