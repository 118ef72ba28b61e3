"""Start-up and run time of the commands, as whole processes: medians, and memory against draws."""

import argparse
import os
import statistics
import subprocess
import sys
import time

RPS = [sys.executable, "-c", "from rpstheory.cli import main; main()"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import rpstheory": [sys.executable, "-c", "import rpstheory"],
    "rps --help": [*RPS, "--help"],
    "rps verify --quick": [*RPS, "verify", "--quick"],
    "rps verify": [*RPS, "verify"],
}
REPEATS = {"rps verify --quick": 3, "rps verify": 1}
PEAK = "import resource, sys; sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"


def seconds(command):
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def peak_mebibytes(discrepancy):
    code = (
        f"from rpstheory import verify\nverify(['norm-variance'], discrepancy={discrepancy}, jobs=1)\n{PEAK}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also the full rps verify (minutes)")
    full = parser.parse_args().full
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; median seconds of whole processes")
    for name, command in COMMANDS.items():
        if name == "rps verify" and not full:
            continue
        seconds(command) if name != "rps verify" else None
        times = [seconds(command) for _ in range(REPEATS.get(name, 9))]
        print(f"  {name:<20} {statistics.median(times):8.2f} s   ({min(times):.2f} to {max(times):.2f})")
    print("peak memory of one process against the number of draws (norm-variance, one worker)")
    for discrepancy in (0.1, 0.02, 0.01):
        print(f"  discrepancy {discrepancy:<5} {peak_mebibytes(discrepancy):8.0f} MiB")


if __name__ == "__main__":
    main()
