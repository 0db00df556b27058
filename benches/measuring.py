"""What a program costs, and how figures are shown, held against their limits and put into the manual."""

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from statistics import median
from typing import NamedTuple

from logs import BINARY, FOLDER, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
START, END = "<!-- `make bench` writes what follows. -->\n\n", "\n<!-- The end of what `make bench` writes. -->"
PR_SET_CHILD_SUBREAPER = 36

OURS = "cloudtrail-alerter"
REAL = "real records"
NO_MATCH = {"source": "^nothing$", "regexp": "^nothing$"}
BOTH_PACKS = {"packs": ["cis", "threats"]}

# What was printed, the parts that were left out, and the limits that were exceeded.
printed, left_out, exceeded = [], [], []


def say(text):
    """Print, and keep for the manual."""
    print(text, flush=True)
    printed.append(text)


def skip(part, why):
    """Says that a part is left out."""
    left_out.append(part)
    say(f"\nSkipped: {part}. {why}.")


def limited(value, limit, form, what):
    """A figure beside its limit."""
    if value > limit:
        exceeded.append(f"{what}: {form.format(value)}, over {form.format(limit)}")
    return f"{form.format(value)} ({'at most' if value <= limit else 'OVER'} {form.format(limit)})"


def at_least(value, limit, form, what):
    """A figure beside its limit from below."""
    if value < limit:
        exceeded.append(f"{what}: {form.format(value)}, under {form.format(limit)}")
    return f"{form.format(value)} ({'at least' if value >= limit else 'UNDER'} {form.format(limit)})"


def table(title, header, rows):
    """A section's figures in Markdown, aligned for a terminal, too."""
    rows = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    say(f"\n{textwrap.fill(title, 120, break_on_hyphens=False)}\n")
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        say("| " + " | ".join(cells) + " |")


def ms(seconds):
    """Milliseconds, with as many digits as mean something."""
    return f"{seconds * 1e3:.{1 if seconds < 0.02 else 0}f} ms"


def mb(megabytes):
    """Megabytes."""
    return f"{megabytes:.1f} MB"


def medians(rounds):
    """The median of each figure of a round."""
    return map(median, zip(*rounds, strict=True))


class Cost(NamedTuple):
    """CPU seconds of a process and of those that it waits for, seconds on the clock, and the peak MB of the largest."""

    cpu: float
    time: float
    peak: float


def adopt_orphans():
    """Lets this process wait for what its children leave behind; see `measure`."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def measure(*command, output=os.devnull):
    """What a program costs. What it prints goes into a file.

    A process's peak starts at the size of the one that it was forked from. So a small shell starts it and ends, and
    this process, which adopts such orphans, waits for it.
    """
    script = 'output=$1; shift; "$@" >"$output" 2>/dev/null & echo $!'
    start = time.perf_counter()
    command = ["sh", "-c", script, "sh", output, *map(str, command)]
    shell = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    _, status, usage = os.wait4(int(shell.stdout), 0)
    if status:
        sys.exit(f"{' '.join(command[5:])}: exit status {os.waitstatus_to_exitcode(status)}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss / 1024)


class Turns:
    """What commands cost that took turns: `commands` has them by name. What they print is kept if it is asked for."""

    def __init__(self, runs, commands, keep=False):
        self.outputs, self.rounds = {}, []
        for _ in range(runs):
            self.rounds.append({})
            for name, command in commands.items():
                with tempfile.NamedTemporaryFile("w+") as output:
                    self.rounds[-1][name] = measure(*command, output=output.name if keep else os.devnull)
                    self.outputs[name] = output.read()

    def __getitem__(self, name):
        """What a command costs: the least times, because other load only adds to them, and the median peak."""
        cpu, time, peaks = zip(*(each[name] for each in self.rounds), strict=True)
        return Cost(min(cpu), min(time), median(peaks))

    def ratio(self, name, base, of="cpu"):
        """What a command costs beside another one."""
        return getattr(self[name], of) / getattr(self[base], of)


def configuration(content):
    """A configuration in a file."""
    text = json.dumps(content)
    path = FOLDER / f"configuration-{hashlib.md5(text.encode()).hexdigest()}.json"
    path.write_text(text)
    return path


def scan(config, place):
    """The command for a scan with a configuration."""
    return BINARY, "scan", "--config", configuration(config), place


def inflate(log):
    """The command for what a scan can't do without."""
    return "gzip", "-dc", log


def version(*command):
    """The first line that a program says about itself."""
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]


def installed(folder, *commands):
    """Whether these commands have filled a folder of their own, now or before."""
    complete, wanted = folder / "complete", repr(commands)
    if not complete.exists() or complete.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if any(subprocess.run(command, stdout=subprocess.DEVNULL).returncode for command in commands):
            return False
        complete.write_text(wanted)
    return True


def write_page():
    """Puts what was printed into the manual, if that is all there is to print."""
    if left_out:
        return print(f"\n{PAGE.relative_to(ROOT)} stays as it is: parts were skipped.")
    text = PAGE.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    assert start and end, f"{PAGE} does not say where the figures begin and end"
    PAGE.write_text(before + start + "\n".join(printed) + "\n" + end + after, encoding="utf-8")
    print(f"\n{PAGE.relative_to(ROOT)} shows these figures now.")
