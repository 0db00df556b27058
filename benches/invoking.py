"""What invocations cost: ours beside functions that do the original sample's steps in Python and Node."""

import json
import shutil
import sys
from statistics import median

from logs import BINARY, FOLDER, ROOT
from measuring import NO_MATCH, OURS, installed, limited, skip, table
from servers import TOPIC, Function

RUNS = 5
LATENCIES = (20, 100)  # milliseconds
NODE_PACKAGES = ["@aws-sdk/client-s3@3.1169.0", "@aws-sdk/client-sns@3.1169.0"]
FORMS = {"CPU": "{:.0f} ms", "peak": "{:.1f} MB", "requests": "{:.0f}", "requests at once": "{:.0f}"}
LIMITS = {("round trips of 100 ms", "quiet log, warm"): 1.6, ("round trips of 100 ms", "1,000 alerts"): 15,
          ("peak", "1,000 alerts"): 32}


def contenders():
    """Functions to compare: name → (command, environment)."""
    found = {OURS: ([BINARY], {}), "Python": ([sys.executable, ROOT / "benches" / "sample.py"], {})}
    folder = FOLDER / "node"
    install = ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel", "error", *NODE_PACKAGES]
    if not (shutil.which("node") and shutil.which("npm")):
        skip("the function in Node", "Node or npm is missing")
    elif not installed(folder, install):
        skip("the function in Node", "npm could not install the SDK")
    else:
        found["Node"] = ["node", ROOT / "benches" / "sample.js"], {"NODE_PATH": str(folder / "node_modules")}
    return found


def in_s3(config, **logs):
    """The objects that a function finds: a configuration, and logs."""
    config = {**config, "sns": {"region": "us-east-1", "topicARN": TOPIC}}
    return {"filter_config.json": json.dumps(config).encode(), **logs}


def one_round(command, environment, found, large):
    """(measure, of what) → figure, of one function."""
    figures = {}
    with Function(command, large, **environment) as function:
        function.invoke("large")
        before = function.cpu()
        function.invoke("large")
        figures["CPU", "50 MB, no match"] = (function.cpu() - before) * 1e3
        figures["peak", "50 MB, no match"] = function.peak()
    for latency in LATENCIES:
        with Function(command, found, latency / 1e3, **environment) as function:
            seconds = {"quiet log, cold": function.invoke("quiet", cold=True),
                       "quiet log, warm": median(function.invoke("quiet") for _ in range(3))}
            before = function.cpu()
            seconds["1,000 alerts"] = function.invoke("matches")
            assert function.messages == 1000, f"{command} published {function.messages} of 1,000 alerts"
            for what, value in seconds.items():
                figures[f"round trips of {latency} ms", what] = value * 1e3 / latency
            alerts = {"CPU": (function.cpu() - before) * 1e3, "peak": function.peak(),
                      "requests": function.requests, "requests at once": function.most_under_way}
    # Of the longest latency, with which the most is under way.
    return figures | {(measured, "1,000 alerts"): figure for measured, figure in alerts.items()}


def by_function(functions, found, log):
    """CPU, memory and round trips of functions, side by side."""
    large = in_s3(NO_MATCH, large=log.read_bytes())
    rounds = [{name: one_round(*function, found, large) for name, function in functions.items()}
              for _ in range(RUNS)]
    rows = []
    for measured, what in next(iter(rounds[0].values())):
        form = FORMS.get(measured, "{:.1f}")
        row = {name: median(each[name][measured, what] for each in rounds) for name in functions}
        shown = {name: form.format(figure) for name, figure in row.items()}
        if limit := LIMITS.get((measured, what)):
            shown[OURS] = limited(row[OURS], limit, form, f"{what}, {measured}")
        rows.append([f"{what}: {measured}", *shown.values()])
    table("Functions side by side, under a fake Lambda, S3 and SNS; Python and Node do the original sample's steps "
          "(benches/sample.py, sample.js). A round trip is the time from request to answer; connecting takes none. "
          "Invocations are warm and go from the event to the answer; a cold one goes from the start of the process. "
          "50 MB are read without latency; a quiet log has 800 records, the log with 1,000 alerts has 2,000. "
          f"Medians of {RUNS} rounds.", ["", *functions], rows)
