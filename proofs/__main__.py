"""`python -m proofs [--quick] [--seed N] [NAME…]`: proves all, or what is named."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import traceback
from pathlib import Path

from proofs import (
    batch_deletes,
    clocks,
    cut_off,
    disk_errors,
    equal_uploads,
    fairness,
    fence,
    flipped_bytes,
    full_disk,
    killed_transcodes,
    killed_workers,
    kills,
    last_deletes,
    left_behind,
    life_of_media,
    memory,
    postgres_away,
    power_cuts,
    redis_away,
    rot,
    terminated,
)
from proofs.outcomes import CannotRun, Outcome, Prove, Run, Stopwatch, Verdict
from proofs.reports import keep, table

PROOFS: dict[str, Prove] = {
    "power_cuts": power_cuts.prove,
    "kills": kills.prove,
    "disk_errors": disk_errors.prove,
    "fence": fence.prove,
    "full_disk": full_disk.prove,
    "memory": memory.prove,
    "clocks": clocks.prove,
    "batch_deletes": batch_deletes.prove,
    "cut_off": cut_off.prove,
    "equal_uploads": equal_uploads.prove,
    "fairness": fairness.prove,
    "flipped_bytes": flipped_bytes.prove,
    "killed_transcodes": killed_transcodes.prove,
    "killed_workers": killed_workers.prove,
    "last_deletes": last_deletes.prove,
    "left_behind": left_behind.prove,
    "life_of_media": life_of_media.prove,
    "postgres_away": postgres_away.prove,
    "redis_away": redis_away.prove,
    "rot": rot.prove,
    "terminated": terminated.prove,
}
_GOOD = frozenset({Verdict.PROVED, Verdict.SKIPPED})


def main() -> None:
    """Prove, print a table; keep what full runs found. Ends with 1 if anything was lost."""
    asked = _arguments()
    unknown = set(asked.names) - set(PROOFS)
    if unknown:
        sys.exit(f"no such proof: {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    outcomes: list[Outcome] = []
    for name in asked.names or PROOFS:
        found = prove(name, is_quick=asked.quick, seed=asked.seed)
        if not asked.quick:
            keep(name, found, seed=asked.seed)
        outcomes += found
    print(table(outcomes))
    sys.exit(any(one.verdict not in _GOOD for one in outcomes))


def prove(name: str, *, is_quick: bool, seed: int) -> list[Outcome]:
    """Run one proof. One that fails to come to an end has lost."""
    print(f"proving {name} …", file=sys.stderr, flush=True)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="mediad-proof-") as folder:
        Path(folder).chmod(0o755)
        try:
            found = PROOFS[name](Run(Path(folder), is_quick, seed))
        except CannotRun as why:
            found = [Outcome(proof=name, invariant="", skipped=str(why))]
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing is proved
            traceback.print_exc()
            found = [
                Outcome(proof=name, invariant="it comes to an end", losses=1, note=repr(error))
            ]
    return [
        one if one.seconds else dataclasses.replace(one, seconds=watch.seconds) for one in found
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proofs", description=main.__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of {', '.join(PROOFS)} (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="a few rounds; nothing is kept")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins")
    return parser.parse_args()


if __name__ == "__main__":
    main()
