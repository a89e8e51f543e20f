"""What a race costs beside the runs: a warm race's time outside its workers.

    python benchmarks/overhead.py RACE_COMMAND...
    python benchmarks/overhead.py mnist-cnn --on pytorch,flax --limit 2000 --epochs 1

Runs ``netglot race`` twice (the first fills the caches: environments, data, verdicts)
and compares the second's wall time with the seconds that its records account for:
interpreter and framework start, data, build, training, evaluation.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def race(words: list[str], folder: Path) -> float:
    """Wall seconds of one race."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "netglot", "race", *words, "--out", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def main() -> None:
    words = sys.argv[1:]
    if not words:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        race(words, Path(temporary, "cold"))
        folder = Path(temporary, "warm")
        wall = race(words, folder)
        records = [
            json.loads(path.read_text()) for path in (folder / "records").glob("*.json")
        ]
    inside = sum(sum(record["phases"].values()) for record in records)
    print(
        f"{len(records)} runs: {wall:.1f} s in all, {inside:.1f} s in the phases of "
        f"the workers, {wall - inside:.1f} s beside ({100 - 100 * inside / wall:.1f} %)"
    )


if __name__ == "__main__":
    main()
