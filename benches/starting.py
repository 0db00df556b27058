"""What starting costs: a function's cold start, and the compilation of its rules."""

import io
import zipfile

from logs import BINARY, empty
from measuring import BOTH_PACKS, NO_MATCH, OURS, Turns, configuration, limited, mb, medians, ms, scan, skip, table
from scanning import rules
from servers import Function, first_hello

RUNS = 15
EMPTY = "empty lambda_runtime"


def by_function(functions, smallest, found):
    """How long functions take to be ready, and how large the package is that Lambda downloads before."""
    bare = f"{OURS}, no bucket named"
    functions = functions | {bare: ([BINARY], {"FILTER_CONFIG_BUCKET": ""})}
    if smallest:
        functions |= {EMPTY: ([smallest], {})}
    rounds = {name: [] for name in functions}
    for _ in range(RUNS):
        for name, (command, environment) in functions.items():
            for _ in range(2):  # the first finds the processor's caches as another program left them
                with Function(command, found, **environment) as function:
                    poll = function.time_to_first_poll()
                hello = 0 if name == EMPTY else first_hello(command, **environment)
            rounds[name].append((poll, hello))
    times = {name: list(medians(figures)) for name, figures in rounds.items()}
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(BINARY, "bootstrap")
    size = limited(package.tell() / 1e6, 7, "{:.1f} MB", "the zipped program")
    title = ("Cold start: from the start of the process to its first poll for work, and to the first byte of TLS that "
             f"it sends to AWS; no latency; medians of {RUNS} rounds, the second of two starts in each. Where a "
             f"bucket is named for the configuration, {OURS} loads it before it polls. The zipped program has {size}.")
    if smallest:
        poll = limited(times[bare][0] / times[EMPTY][0], 1.6, "{:.2f}", "the first poll, of an empty function's")
        title += f" Its first poll, where no bucket is named, is {poll} times that of an empty function."
    else:
        skip("an empty function", "Cargo knows no benchmark of the name `empty`")
    rows = [[name, ms(poll), ms(hello) if hello else "–"] for name, (poll, hello) in times.items()]
    rows[0][2] = limited(times[OURS][1] * 1e3, 12, "{:.1f} ms", "the first byte of TLS")
    table(title, ["function", "first poll", "first TLS"], rows)


def by_rules():
    """What compiling rules adds to a start, and `check` with the packs' tests."""
    cases = {"1 rule": NO_MATCH, "both packs": BOTH_PACKS, "300 rules": rules(300), "3,000 rules": rules(3000),
             "3,000 rules, a tenth have only `where`": rules(3000, only_where=10)}
    turns = Turns(RUNS, {what: scan(config, empty()) for what, config in cases.items()}
                  | {"check": [BINARY, "check", configuration(BOTH_PACKS)]})
    check = limited(turns["check"].cpu * 1e3, 200, "{:.0f} ms", "check of both packs with their tests")
    table("Rules at a cold start: CPU time and peak memory of `scan` with an empty log, which reads and compiles the "
          f"rules. The least of {RUNS} rounds. `check` of both packs with all their tests takes {check}.",
          ["rules", "CPU", "peak"], [[what, ms(turns[what].cpu), mb(turns[what].peak)] for what in cases])
