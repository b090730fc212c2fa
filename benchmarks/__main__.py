"""``make bench``: the benchmarks that need nothing but this project, one after the other."""

import runpy
import sys

__all__: list[str] = []

BENCHMARKS = ("bulk", "drain", "listing", "pickup", "recovery", "timing")


def main() -> None:
    """Run those named on the command line, or all."""
    chosen = sys.argv[1:] or BENCHMARKS
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        sys.exit(f"no benchmark {', '.join(unknown)}: there are {', '.join(BENCHMARKS)}")
    for name in chosen:
        print(f"\n=== {name}", flush=True)
        sys.argv = [name]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
