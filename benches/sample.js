// The original sample's steps as a Node.js function: what `make bench` compares with.
//
// Clients are made once, and matches are published in parallel, each with a request of its own; the SDK has 50
// connections. In the place of Lambda's runtime client is a loop of a few lines, which favours this function.
"use strict";

const http = require("node:http");
const zlib = require("node:zlib");
const { GetObjectCommand, S3Client } = require("@aws-sdk/client-s3");
const { PublishCommand, SNSClient } = require("@aws-sdk/client-sns");

const s3 = new S3Client({});
const sns = new SNSClient({});

async function get(Bucket, Key) {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
  return Buffer.from(await Body.transformToByteArray());
}

async function handler(event) {
  const config = JSON.parse(await get(process.env.FILTER_CONFIG_BUCKET, "filter_config.json"));
  const [source, regexp] = [new RegExp(config.source), new RegExp(config.regexp)];

  const { bucket, object } = event.Records[0].s3;
  const log = await get(bucket.name, decodeURIComponent(object.key.replace(/\+/g, " ")));
  const records = JSON.parse(zlib.gunzipSync(log)).Records;
  const matches = records.filter((each) => source.test(each.eventSource) && regexp.test(each.eventName));

  await Promise.all(matches.map((each) => {
    const Message = `Event  : ${each.eventName}\nSource : ${each.eventSource}\n` +
      `Params : ${JSON.stringify(each.requestParameters)}\nRegion : ${each.awsRegion}\n`;
    return sns.send(new PublishCommand({ TopicArn: config.sns.topicARN, Message }));
  }));
  return { published: matches.length };
}

// What Lambda's runtime does.
const agent = new http.Agent({ keepAlive: true });
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");

function api(method, path, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ agent, host, port, method, path: `/2018-06-01/runtime/invocation/${path}` });
    request.on("error", reject).on("response", async (response) => {
      const pieces = await response.toArray();
      resolve({ headers: response.headers, body: Buffer.concat(pieces) });
    });
    request.setHeader("Content-Length", Buffer.byteLength(body));
    request.end(body);
  });
}

(async () => {
  for (;;) {
    const { headers, body } = await api("GET", "next", "");
    const result = JSON.stringify(await handler(JSON.parse(body)));
    await api("POST", `${headers["lambda-runtime-aws-request-id"]}/response`, result);
  }
})();
