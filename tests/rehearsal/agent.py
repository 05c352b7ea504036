"""What machines run in the tests: it joins, and runs what it is told through SQS.

In the machines' bundle it is `rehearsed_agent`, beside the boto3 that comes with cloudfn. An order
is a command; the answer has its exit code and what it printed.
"""

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import boto3

METADATA = "http://169.254.169.254/latest"


def metadata(path: str) -> str:
    ask = urllib.request.Request(
        f"{METADATA}/api/token", method="PUT",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
    )  # fmt: skip
    token = urllib.request.urlopen(ask, timeout=5).read().decode()
    header = {"X-aws-ec2-metadata-token": token}
    request = urllib.request.Request(f"{METADATA}/meta-data/{path}", headers=header)
    try:
        return urllib.request.urlopen(request, timeout=5).read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code)


def planner(event: dict[str, str], context: object) -> None:
    """What Lambda calls in the place of the planner."""
    told = {"event": event, "environment": os.environ["CLOUDFN_ENVIRONMENT"]}
    boto3.client("ssm").put_parameter(
        Name="/planned", Type="String", Value=json.dumps(told), Overwrite=True
    )


def main() -> None:
    region, name = os.environ["AWS_REGION"], f"cloudfn-{os.environ['CLOUDFN_ENVIRONMENT']}"
    session = boto3.session.Session(region_name=region)
    sqs, scaling = session.client("sqs"), session.client("autoscaling")
    me, group = metadata("instance-id"), f"{name}-{os.environ['CLOUDFN_MACHINE_CLASS']}"
    here = {"AutoScalingGroupName": group, "InstanceId": me}
    done = {**here, "LifecycleActionResult": "CONTINUE"}
    orders = sqs.create_queue(QueueName=f"{name}-orders-{me}")["QueueUrl"]
    answers = sqs.create_queue(QueueName=f"{name}-answers-{me}")["QueueUrl"]
    scaling.complete_lifecycle_action(LifecycleHookName="join", **done)
    heard = Path("/run/cloudfn/heard")
    heard.parent.mkdir(parents=True, exist_ok=True)
    while metadata("autoscaling/target-lifecycle-state") == "InService":
        heard.touch()
        got = sqs.receive_message(QueueUrl=orders, WaitTimeSeconds=1)
        for message in got.get("Messages", []):
            sqs.delete_message(QueueUrl=orders, ReceiptHandle=message["ReceiptHandle"])
            command = json.loads(message["Body"])
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            told = {"code": ran.returncode, "out": ran.stdout, "err": ran.stderr}
            sqs.send_message(QueueUrl=answers, MessageBody=json.dumps(told))
    sqs.send_message(QueueUrl=answers, MessageBody=json.dumps({"out": "drained"}))
    scaling.complete_lifecycle_action(LifecycleHookName="drain", **done)


if __name__ == "__main__":
    main()
