"""What a machine has before it has cloudfn: fetch the bundle by its digest, and end the machine when it is forgotten.

    boot.py fetch       bundle from S3 into /opt/cloudfn/<sha256>, whole and checked, or not at all
    boot.py deadman     terminate this machine unless /run/cloudfn/heard is young enough

Standard library alone, Python 3.9 and newer. Keys come from the metadata service (IMDSv2), and are never written down.
The agent touches /run/cloudfn/heard whenever it works or hears from the planner.
"""

import datetime
import hashlib
import hmac
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
#: folders of what is configured, of what is fetched, of what is told
CONFIGURED, FETCHED, TOLD = (Path(os.environ.get("CLOUDFN_BOOT_ROOT", "/")) / each for each in ("etc/cloudfn", "opt/cloudfn", "run/cloudfn"))


def main(command):
    config = json.loads((CONFIGURED / "boot.json").read_text())
    if command == "fetch":
        fetch(config)
    elif command == "deadman":
        deadman(config)
    else:
        sys.exit("boot.py: say fetch or deadman, not " + command)


def fetch(config):
    home = FETCHED / config["sha256"]
    if home.exists():
        return
    # Keys hold no characters that would need quoting: they are agent/<digest>.zip.
    content = call("s3", config["region"], "GET", "/" + config["bucket"] + "/" + config["key"])
    found = hashlib.sha256(content).hexdigest()
    if found != config["sha256"]:
        sys.exit("boot.py: {}/{} has the SHA-256 {}, not {}".format(config["bucket"], config["key"], found, config["sha256"]))
    part = FETCHED / (config["sha256"] + ".part")
    shutil.rmtree(part, ignore_errors=True)
    zipfile.ZipFile(io.BytesIO(content)).extractall(part)
    part.rename(home)


def deadman(config):
    heard = TOLD / "heard"
    if not heard.exists():  # counts from the first look
        heard.parent.mkdir(parents=True, exist_ok=True)
        heard.touch()
    quiet = time.time() - heard.stat().st_mtime
    if quiet < 60 * config["deadman_minutes"]:
        return
    print("boot.py: nobody has spoken to this machine for {:.0f} s, it ends".format(quiet), flush=True)
    query = urllib.parse.urlencode({
        "Action": "TerminateInstanceInAutoScalingGroup",
        "InstanceId": metadata("meta-data/instance-id"),
        "ShouldDecrementDesiredCapacity": "true",
        "Version": "2011-01-01",
    })
    try:
        call("autoscaling", config["region"], "POST", "/", query.encode())
    finally:  # whatever the answer: nobody pays for a machine that nobody speaks to
        subprocess.run(["systemctl", "poweroff"], check=False)


def metadata(path, token=[]):  # noqa: B006
    if not token:
        ask = urllib.request.Request(METADATA + "/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "300"})
        token.append(read(ask).decode())
    return read(urllib.request.Request(METADATA + "/latest/" + path, headers={"X-aws-ec2-metadata-token": token[0]})).decode()


def call(service, region, method, path, body=b""):
    """Send one request, signed with the machine's role (Signature Version 4)."""
    role = metadata("meta-data/iam/security-credentials/").split()[0]
    keys = json.loads(metadata("meta-data/iam/security-credentials/" + role))
    name = "AWS_ENDPOINT_URL_" + {"autoscaling": "AUTO_SCALING"}.get(service, service.upper())
    suffix = metadata("meta-data/services/domain")
    url = os.environ.get(name) or os.environ.get("AWS_ENDPOINT_URL") or "https://{}.{}.{}".format(service, region, suffix)
    headers = signed(service, region, method, urllib.parse.urlsplit(url).netloc, path, body, keys, datetime.datetime.now(datetime.timezone.utc))
    return read(urllib.request.Request(url.rstrip("/") + path, data=body or None, method=method, headers=headers))


def signed(service, region, method, host, path, body, keys, now):
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp, "x-amz-security-token": keys["Token"]}
    if body:
        headers["content-type"] = "application/x-www-form-urlencoded; charset=utf-8"
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, urllib.parse.quote(path), "", *(each + ":" + headers[each] for each in sorted(headers)), "", names, digest])
    scope = "/".join([stamp[:8], region, service, "aws4_request"])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + keys["SecretAccessKey"]).encode()
    for each in scope.split("/"):
        key = hmac.new(key, each.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = "Credential={}/{}, SignedHeaders={}, Signature={}".format(keys["AccessKeyId"], scope, names, signature)
    return {**headers, "Authorization": "AWS4-HMAC-SHA256 " + credential}


def read(request):
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else "nothing")
