"""Services fail for a minute each, one after the other, while one map runs on an emulated AWS."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rehearsal.world import CLOCK, World

pytestmark = pytest.mark.soak

PROGRAM = """
import hashlib
import time
import cloudfn

app = cloudfn.App("weather")


def block(i):
    return b"%d" % i * (20_000 if i % 40 == 0 else 1)


@app.function(max_containers=4)
def digest(i, data):
    time.sleep(0.2)
    return i, hashlib.sha256(data).digest(), data[:70_000]


@app.local_entrypoint()
def main(n: int):
    answers = digest.starmap(((i, block(i)) for i in range(n)), order_outputs=False)
    seen = []
    for i, said, data in answers:
        seen.append(i)
        if len(seen) == 1:
            print("begun", flush=True)
        assert said == hashlib.sha256(block(i)).digest() and data == block(i)[:70_000], i
    print("right", sorted(seen) == list(range(n)), "of", len(seen))
"""

#: seconds
MINUTE = 60
#: four containers need some four minutes for so many, beside the minutes in which nothing goes on
INPUTS = 5_000
WEATHER = (
    ("s3", "fail"),
    ("dynamodb", "fail"),
    ("dynamodb", "throttle"),
    ("sqs", "fail"),
    ("sqs", "throttle"),
    ("ssm", "fail"),
)


@pytest.mark.timeout(1_800)
def test_a_map_outlasts_services_that_fail_for_a_minute_each(aws: World, tmp_path: Path):
    file = tmp_path / "weather.py"
    file.write_text(PROGRAM)
    with aws.start("run", str(file), "--n", str(INPUTS)) as running:
        assert running.stdout is not None
        # What is written to stderr comes here, too.
        assert any(line == "begun\n" for line in running.stdout), aws.logs()
        for service, kind in WEATHER:
            aws.cloudfn("rehearse", "fault", service, kind, str(MINUTE))
            CLOCK.sleep(MINUTE)
        assert running.poll() is None, "the map was over before the weather was"
        told, _ = running.communicate(timeout=900)
    print(told)
    assert f"right True of {INPUTS}" in told, told + aws.logs()
    aws.until(lambda: aws.machines() == [], "no machine is left")
