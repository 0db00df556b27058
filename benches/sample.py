"""The original sample's steps as a Python function: what `make bench` compares with.

Clients are made once, and matches are published in parallel, each with a request of its own, on as many threads as
boto3 has connections. In the place of Lambda's runtime client is a loop of a few lines, which favours this function.
"""

import gzip
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import unquote_plus

import boto3

s3 = boto3.client("s3")
sns = boto3.client("sns")


def handler(event):
    """Alert on the records of one log."""
    file = s3.get_object(Bucket=os.environ["FILTER_CONFIG_BUCKET"], Key="filter_config.json")
    config = json.loads(file["Body"].read())
    source, regexp = re.compile(config["source"]), re.compile(config["regexp"])

    of_event = event["Records"][0]["s3"]
    log = s3.get_object(Bucket=of_event["bucket"]["name"], Key=unquote_plus(of_event["object"]["key"]))
    records = json.loads(gzip.decompress(log["Body"].read()))["Records"]
    matches = [each for each in records if source.search(each["eventSource"]) and regexp.search(each["eventName"])]

    def publish(each):
        message = (f"Event  : {each['eventName']}\nSource : {each['eventSource']}\n"
                   f"Params : {json.dumps(each['requestParameters'])}\nRegion : {each['awsRegion']}\n")
        sns.publish(TopicArn=config["sns"]["topicARN"], Message=message)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(publish, matches))
    return {"published": len(matches)}


def main():
    """What Lambda's runtime does."""
    api = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        api.request("GET", "/2018-06-01/runtime/invocation/next")
        answer = api.getresponse()
        event, request = json.loads(answer.read()), answer.headers["lambda-runtime-aws-request-id"]
        result = json.dumps(handler(event))
        api.request("POST", f"/2018-06-01/runtime/invocation/{request}/response", result)
        api.getresponse().read()


main()
