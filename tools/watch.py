"""`make watch`: runs `cargo lambda watch` against a local AWS that holds the fixtures; `make invoke` sends an event."""

import json
import os
import signal
import subprocess
import sys
import time

from demo import show
from local_aws import ROOT, LocalAws, fixture_events


def main():
    cargo_lambda = sys.argv[1:]
    with LocalAws() as aws:
        topic = aws.sns.create_topic(Name="alerts")["TopicArn"]
        queue = aws.subscribe(topic)
        for path, bucket, key in fixture_events():
            aws.s3.create_bucket(Bucket=bucket)
            aws.put_log(key, json.loads(path.read_text()), bucket)
            aws.configure(json.loads((ROOT / "filter_config.json").read_text()), bucket)
            print(f"{path.relative_to(ROOT)} is s3://{bucket}/{key}")
        environment = {**os.environ, **aws.function_environment(), "TOPIC_ARN": topic}
        watch = subprocess.Popen([*cargo_lambda, "watch"], cwd=ROOT, env=environment, start_new_session=True)
        try:
            print("When the function is built, run `make invoke` in another terminal. Ctrl-C stops it.", flush=True)
            while watch.poll() is None:
                for alert in aws.receive(queue):
                    show(alert)
                sys.stdout.flush()
                time.sleep(0.2)
        except KeyboardInterrupt:
            print("\nStopping")
        finally:
            if watch.poll() is None:
                os.killpg(watch.pid, signal.SIGINT)
                watch.wait()
    sys.exit(max(watch.returncode, 0))


if __name__ == "__main__":
    main()
