"""Each part of an environment on AWS ends at some request; a handful per run, all in the soak."""

import random
from collections.abc import Iterator

import pytest

from tests.failure.aws_points import PARTS, Kill, Points, asks, work_of
from tests.integration.aws_plugs import Point

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

#: names the points of one run for ever
SEED = 20_261_129
#: requests of interest, and how many of them there are at the least
REACH = {
    "client": {"dynamodb.transact_write_items": 3, "dynamodb.get_item": 15, "s3.upload_part": 2,
               "sqs.create_queue": 1, "sqs.send_message_batch": 2, "sqs.receive_message": 2},
    "runner": {"dynamodb.transact_write_items": 4, "dynamodb.put_item": 4, "sqs.create_queue": 3,
               "dynamodb.delete_item": 2, "sqs.delete_queue": 2},
    "deployer": {"dynamodb.transact_write_items": 4, "sqs.create_queue": 2, "s3.put_object": 1},
    "stopper": {"dynamodb.transact_write_items": 2, "sqs.create_queue": 2, "sqs.delete_queue": 2},
    "planner": {"autoscaling.launch_instances": 1, "dynamodb.update_item": 15,
                "autoscaling.terminate_instance_in_auto_scaling_group": 1,
                "dynamodb.transact_write_items": 6},
    "agent": {"dynamodb.update_item": 20, "dynamodb.transact_write_items": 1,
              "sqs.receive_message": 3, "sqs.send_message_batch": 2, "s3.upload_part": 2},
    "machine": {"dynamodb.update_item": 20, "sqs.delete_message_batch": 2,
                "s3.complete_multipart_upload": 1, "autoscaling.complete_lifecycle_action": 1},
}  # fmt: skip


def kills(seed: int) -> list[Kill]:
    """Return one point for each part."""
    choose = random.Random(seed)
    found = []
    for part in PARTS:
        request = choose.choice(sorted(REACH[part]))
        number = choose.randint(1, REACH[part][request])
        found.append(Kill(part, Point(asks(part), request, number, choose.random() < 0.5)))
    return found


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Points]:
    with Points(tmp_path_factory.mktemp("points")).running() as made:
        yield made


@pytest.mark.parametrize("kill", kills(SEED), ids=str)
def test_a_part_that_ends_at_a_request_leaves_nothing_wrong(points: Points, kill: Kill) -> None:
    report, reached = points.run(work_of(kill.part), kill)

    print(f"seed {SEED}: {kill}: reached={reached}, {report.executions} executions")
    assert report.clean, report
