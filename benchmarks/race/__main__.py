"""The race: accuracy for training compute, growing networks against all others.

python benchmarks/race run --data-dir PATH [--data cifar10] [--regime short] [--budget 0.01]
    [--seeds 3] [--only dnm] [--threads 1] [--device cpu] [--worker 0 --of 2]
python benchmarks/race run --quick
python benchmarks/race jobs --data-dir PATH ...
python benchmarks/race sum
python benchmarks/race draw

`run` writes one file a run into benchmarks/results/race; what is there isn't run again, and a run
that was broken off goes on from its newest checkpoint in runs/race. Every run has a process of its
own, whose peak memory is taken. Budgets are PFLOP of training, counted by one counter: forward and
backward passes that are really run, search, sensing and growth included, evaluation not. Everything
is chosen on 5,000 held-out training images; the test images are read once, at each run's end.
`--quick` races on scikit-learn's digits in two minutes, to see that all of it works. `jobs` runs
nothing, but writes out what is left to run, for `benchmarks/pool.py`. `sum` writes summary.json;
`draw` the pictures in docs/images and the tables in docs/race.md.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from contenders import expanded, measured
from provenance import RESULTS
from results import path_of, write
from rival import available
from settings import FOLLOWING, REGIMES, Job, Place
from summing import write_summary

ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    """Run, sum up or draw."""
    args = _arguments()
    folder = "race-quick" if args.regime == "quick" else "race"
    results = args.out or (ROOT / "runs" if args.regime == "quick" else RESULTS) / folder
    runs = ROOT / "runs" / folder / "going-on" if args.out is None else args.out / "going-on"
    place = Place(results, runs, args.data_dir, args.threads, args.device)
    if args.what == "run":
        for job in _mine(args):
            _run(job, place, args)
        if args.regime == "quick" and args.seed is None:  # a process of one run has one
            write_summary(results)
    elif args.what == "jobs":
        _list([job for job in _mine(args) if not path_of(job, place).exists()], place, args)
    elif args.what == "sum":
        write_summary(results)
    else:
        from drawing import draw  # needs matplotlib, which racing doesn't

        draw(results, ROOT / "docs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="race", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "jobs", "sum", "draw"])
    parser.add_argument("--data", help="cifar10, cifar100")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--regime", choices=REGIMES, default="short")
    parser.add_argument("--quick", dest="regime", action="store_const", const="quick")
    parser.add_argument("--budget", type=float, action="append", help="PFLOP; may be repeated")
    parser.add_argument("--seeds", type=int, default=None, help="how many, 0 and on")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--only", action="append", help="a contender; may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--out", type=Path, help="another folder for results and runs")
    parser.add_argument("--here", action="store_true", help="in this process")
    return parser.parse_args()


def _mine(args: argparse.Namespace) -> list[Job]:
    """This worker's share of the jobs.

    Contenders that follow from a run of dnm stay with it, in its order.
    """
    regime = REGIMES[args.regime]
    data = args.data or regime.data[0]
    if data not in regime.data:
        raise SystemExit(f"{args.regime} is for {', '.join(regime.data)}, not {data}")
    count = args.seeds or (1 if args.regime == "quick" else 3)
    seeds = range(count) if args.seed is None else [args.seed]
    named = _named(args)
    chains: list[list[Job]] = []
    for budget in args.budget or regime.budgets:
        for seed in seeds:
            names = expanded(named, args.regime, budget)
            jobs = [Job(args.regime, data, budget, name, seed) for name in names]
            tied = [job for job in jobs if job.contender in ("dnm", *FOLLOWING)]
            chains += [tied] if tied else []
            chains += [[job] for job in jobs if job not in tied]
    return [job for chain in chains[args.worker :: args.of] for job in chain]


def _named(args: argparse.Namespace) -> tuple[str, ...]:
    """Contenders that are asked for; without GroMo all others, unless it is asked for."""
    if args.only:
        return tuple(args.only)
    names = REGIMES[args.regime].contenders
    if "gromo" in names and not available():
        left_out = "gromo isn't installed and is left out; pip install torch==2.13.0 gromo==0.1.0"
        print(left_out, file=sys.stderr)
        return tuple(name for name in names if name != "gromo")
    return names


def _run(job: Job, place: Place, args: argparse.Namespace) -> None:
    """One run, unless it is there."""
    if path_of(job, place).exists():
        return
    if args.here:
        outcome = measured(job, place)
        write(job, place, outcome)
        print(
            job.name,
            f"{outcome['test_accuracy']:.4f} {outcome['params']:,} parameters "
            f"{outcome['pflop']:.3g} PFLOP {outcome['seconds']:.0f} s",
            flush=True,
        )
        return
    subprocess.run([sys.executable, sys.argv[0], *_alone(job, place, args)], check=True)


def _alone(job: Job, place: Place, args: argparse.Namespace) -> list[str]:
    """Arguments with which a process runs this job only."""
    own: list[object] = ["run", "--here", "--regime", job.regime, "--data", job.data]
    own += ["--budget", job.budget, "--only", job.contender, "--seed", job.seed]
    own += ["--threads", place.threads, "--device", place.device]
    own += [] if place.data_dir is None else ["--data-dir", place.data_dir]
    own += [] if args.out is None else ["--out", args.out]
    return list(map(str, own))


def _list(jobs: list[Job], place: Place, args: argparse.Namespace) -> None:
    """What is left, for the pool: first what others wait for, and of that the longest."""
    left = {job.name for job in jobs}
    for job in sorted(jobs, key=lambda job: (job.contender != "dnm", -job.budget)):
        leader = Job(job.regime, job.data, job.budget, "dnm", job.seed).name
        after = leader if job.contender in FOLLOWING and leader in left else ""
        print(job.name, after, " ".join([sys.argv[0], *_alone(job, place, args)]), sep="\t")


if __name__ == "__main__":
    main()
