"""The same question to `scan` and to programs that a user would run instead: which calls match, and how often each?"""

import json
import os
import shutil
import sys

from logs import FOLDER, ROOT, archive
from measuring import OURS, Turns, installed, mb, ms, scan, skip, table, version

RUNS = 3
PACKAGES = ["awscli==1.46.3", "duckdb==2.0.1"]
QUESTION = json.loads((ROOT / "filter_config.json").read_text())
QUESTION.pop("maxAlertsPerLog")  # the others count every match
PATTERNS = QUESTION["source"], QUESTION["regexp"]
OURS_COUNTED = r"""
"$@" --format json | jq -r '.event | "\(.eventSource) \(.eventName)"' | sort | uniq -c"""
# A record without one of the fields does not end it. Lines of several processes do not mix without a buffer.
JQ_COUNTED = r"""
export SOURCE="$3" NAME="$4" QUERY='
  .Records[]
  | select((.eventSource // "" | tostring | test(env.SOURCE)) and (.eventName // "" | tostring | test(env.NAME)))
  | "\(.eventSource) \(.eventName)"'
find "$1" -name '*.gz' -print0 \
  | xargs -0 -n 25 -P "$2" sh -c 'gzip -dc "$@" | jq --unbuffered -r "$QUERY"' sh | sort | uniq -c"""
# Only the fields that the question names are kept. `read_json` with `columns` takes ten times as long for such logs.
DUCKDB_COUNTED = """
import sys, duckdb
folder, source, name = sys.argv[1:]
for row in duckdb.execute('''
    SELECT count(*), eventSource, eventName
    FROM (SELECT unnest(from_json(json, '{"Records": [{"eventSource": "VARCHAR", "eventName": "VARCHAR"}]}').Records,
                        recursive := true)
          FROM read_json_objects($folder || '/**/*.json.gz', maximum_object_size = 64_000_000))
    WHERE regexp_matches(eventSource, $source) AND regexp_matches(eventName, $name)
    GROUP BY ALL''', {"folder": folder, "source": source, "name": name}).fetchall():
    print(*row)"""


def peers():
    """The folder of the programs that are installed for comparison; `None` if they can't be."""
    folder = FOLDER / "peers"
    python, into = [sys.executable, "-m", "venv", folder], [folder / "bin" / "pip", "install", "--quiet"]
    if installed(folder, python, [*into, "--disable-pip-version-check", *PACKAGES]):
        return folder / "bin"
    return None


def beside_peers():
    """filter_config.json on a folder, by `scan`, DuckDB and jq: they must count the same."""
    if not shutil.which("jq"):
        return skip("DuckDB and jq", "jq is missing")
    installed_in = peers()
    if not installed_in:
        return skip("DuckDB and jq", "DuckDB could not be installed")
    logs, kilobytes = 200, 100
    folder, cores = archive(logs, kilobytes, distinct=True), len(os.sched_getaffinity(0))
    python = installed_in / "python"
    duckdb = f"DuckDB {version(python, '-c', 'import duckdb; print(duckdb.__version__)')}"
    jq = f"gzip and {version('jq', '--version')}"
    turns = Turns(RUNS, {OURS: ["sh", "-c", OURS_COUNTED, "sh", *scan(QUESTION, folder)],
                         duckdb: [python, "-c", DUCKDB_COUNTED, folder, *PATTERNS],
                         jq: ["sh", "-c", JQ_COUNTED, "sh", folder, cores, *PATTERNS]}, keep=True)
    counted = {name: sorted(line.split() for line in output.splitlines()) for name, output in turns.outputs.items()}
    ours = counted[OURS]
    assert ours and all(counts == ours for counts in counted.values()), f"they disagree: {counted}"
    rows = []
    for name in counted:
        cpu, time, peak = turns[name]
        ratios = [f"{turns.ratio(OURS, name, of):.2f}" for of in ("cpu", "time", "peak")]
        rows.append([name, ms(cpu), ms(time), mb(peak), *ratios])
    table(f"The same question to `scan`, DuckDB and jq: which calls match filter_config.json in a folder of {logs} "
          f"logs of {kilobytes} KB, and how often each? All count the same {sum(int(number) for number, *_ in ours):,} "
          f"matches of {len(ours)} calls. Each may use all {cores} cores; jq runs in as many processes. Peak is "
          f"that of the largest process. The ratios are ours, divided by the program's. The least of {RUNS} rounds.",
          ["program", "CPU", "time", "peak", "CPU's ratio", "time's ratio", "peak's ratio"], rows)
