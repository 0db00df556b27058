"""What scanning an archive in S3 costs, beside the same files on the disk, and beside a copy by the AWS CLI."""

import shutil

from logs import BINARY, FOLDER, RARE_ONLY, archive
from measuring import Turns, at_least, configuration, limited, measure, ms, scan, skip, table, version
from peers import peers
from s3 import BUCKET, S3

RUNS = 5
LATENCY = 0.05
PLACE = f"s3://{BUCKET}/"
COPY_AND_SCAN = 'copy=$(mktemp -d) && "$1" s3 sync --quiet "$2" "$copy" && "$3" scan --config "$4" "$copy"'


def within(s3, *command):
    """The command, with this S3 as its AWS."""
    return "env", *(f"{name}={value}" for name, value in s3.environment.items()), *command


def by_place():
    """Time on the clock, and CPU time of the process, in S3 and on the disk."""
    rows = []
    for what, logs, kilobytes in (("small logs", 5_000, 20), ("large logs", 200, 600)):
        folder = archive(logs, kilobytes)
        with S3(folder) as near:
            turns = Turns(RUNS, {"disk": scan(RARE_ONLY, folder), "S3": within(near, *scan(RARE_ONLY, PLACE))})
        with S3(folder, LATENCY) as far:
            late = measure(*within(far, *scan(RARE_ONLY, PLACE))).time
        times, of_cpu = far.requests * LATENCY / late, turns.ratio("S3", "disk")
        of_cpu_shown, times_shown = f"{of_cpu:.2f}", f"{times:.0f} times"
        if what == "large logs":
            of_cpu_shown = limited(of_cpu, 1.3, "{:.2f}", f"CPU of scanning {what} in S3, of that on the disk")
        else:
            times_shown = at_least(times, 15, "{:.0f} times", f"scanning {what} in S3, beside request after request")
        rows.append([f"{logs} {what}", f"{kilobytes} KB", ms(turns["disk"].time), ms(turns["S3"].time),
                     f"{turns.ratio('S3', 'disk', 'time'):.2f}", of_cpu_shown, far.requests, ms(late), times_shown])
    table(f"Scanning in S3: time on the clock, and the CPU time of the process beside that from the disk. The fake S3 "
          f"shares the machine's cores. With a latency of {LATENCY * 1e3:.0f} ms, the last column compares with one "
          "request after the other.",
          ["archive", "each", "disk", "S3", "ratio", "ratio of CPU", "requests", "S3, latency", "faster"], rows)


def beside_a_copy():
    """A scan in S3, beside `aws s3 sync` and a scan of the copy."""
    installed_in = peers()
    if not installed_in:
        return skip("aws s3 sync", "The AWS CLI could not be installed")
    cli = installed_in / "aws"
    logs, kilobytes = 5_000, 20
    folder, copies, rows = archive(logs, kilobytes), FOLDER / "copies", []
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for what, latency in (("none", 0), (f"{LATENCY * 1e3:.0f} ms", LATENCY)):
        with S3(folder, latency) as s3:
            copy = "sh", "-c", COPY_AND_SCAN, "sh", cli, PLACE, BINARY, configuration(RARE_ONLY)
            turns = Turns(1, {"scan": within(s3, *scan(RARE_ONLY, PLACE)),
                              "copy": within(s3, f"TMPDIR={copies}", *copy)})
        shutil.rmtree(copies)
        copies.mkdir()
        ours, copied = turns["scan"], turns["copy"]
        rows.append([what, ms(ours.time), ms(copied.time), f"{ours.time / copied.time:.2f}",
                     ms(ours.cpu), ms(copied.cpu), f"{ours.cpu / copied.cpu:.2f}"])
    client = version(cli, "--version").split()[0].replace("/", " ")
    table(f"Scanning {logs:,} logs of {kilobytes} KB in S3, beside `aws s3 sync` into an empty folder ({client}) and a "
          "scan of that: time on the clock, and CPU time; one run of each.",
          ["latency", "scan: time", "sync and scan: time", "ratio", "scan: CPU", "sync and scan: CPU", "ratio"], rows)
