"""The rehearsed environment against Terraform's, and its outputs against their reader."""

import json
import re
from pathlib import Path

from cloudfn.providers.aws.outputs import parse_outputs
from cloudfn.rehearsal import userdata
from cloudfn.rehearsal.names import ROLES, Names, as_emulated, outputs
from cloudfn.rehearsal.site import Wanted, wanted_of

TERRAFORM = userdata.modules_folder()


def test_outputs_are_those_that_clients_read():
    found = parse_outputs(json.dumps(outputs(Wanted(), "0" * 64)), "outputs")
    assert found.table == "cloudfn-main"
    assert found.machines["spot"].spot
    assert not found.machines["cpu"].spot
    assert found.repository == "127.0.0.1:4566/cloudfn/main"


def test_outputs_have_the_names_of_terraforms_and_say_who_wrote_them():
    text = (TERRAFORM / "main.tf").read_text()
    block = text[text.index("  outputs = {") :]
    block = block[: block.index("\n  }")]
    named = set(re.findall(r"^    (\w+) +=", block, re.MULTILINE))
    assert named | {"made_by"} == outputs(Wanted(), "0" * 64).keys()


def test_queues_get_what_terraforms_get():
    told = outputs(Wanted(), "0" * 64)["queues"]
    text = (TERRAFORM / "modules/queues/outputs.tf").read_text()
    assert told.keys() == set(re.findall(r"^    (\w+) +=", text, re.MULTILINE))
    for name in told["attributes"]:
        assert name in text
    defaults = dict(
        re.findall(
            r'variable "(\w+)" \{[^}]*?default += (\d+)',
            (TERRAFORM / "modules/queues/variables.tf").read_text(),
        )
    )
    attributes = told["attributes"]
    assert attributes["VisibilityTimeout"] == defaults["visibility_seconds"]
    assert attributes["MessageRetentionPeriod"] == str(int(defaults["retention_days"]) * 86400)
    redrive = json.loads(attributes["RedrivePolicy"])
    assert str(redrive["maxReceiveCount"]) == defaults["max_receives"]


def test_a_machine_class_says_of_itself_what_terraforms_does():
    text = (TERRAFORM / "modules/machine_class/outputs.tf").read_text()
    named = set(re.findall(r"^    (\w+) +=", text, re.MULTILINE))
    assert named == outputs(Wanted(), "")["machines"]["cpu"].keys()


def test_every_role_has_a_policy_of_terraforms_that_can_be_rendered():
    folder = TERRAFORM / "modules/roles/policies"
    # One more says what agents and invokers may never do.
    known = {*ROLES, "limits"}
    assert {each.name.partition(".")[0] for each in folder.iterdir()} == known
    names = Names("main", "eu-central-1")
    values = {
        "account_id": "0",
        "bucket": names.bucket,
        "environment": "main",
        "name": names.prefix,
        "partition": "aws",
        "region": names.region,
    }
    for each in folder.iterdir():
        json.loads(userdata.render(each.read_text(), values))


def test_policies_allow_the_same_in_the_emulator():
    group = "arn:aws:logs:eu-central-1:0:log-group:/cloudfn/main"
    policy = [
        {"Action": ["sqs:SendMessage", "sqs:GetQueueUrl"], "Resource": "*"},
        {"Action": "logs:CreateLogStream", "Resource": f"{group}:*"},
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParametersByPath", "ssm:PutParameter"],
            "Resource": "here",
        },
    ]
    told = json.loads(as_emulated(json.dumps({"Statement": policy})))["Statement"]
    assert told == [
        {
            "Action": ["sqs:SendMessage", "sqs:GetQueueUrl", "sqs:SendMessageBatch"],
            "Resource": ["*"],
        },
        {"Action": ["logs:CreateLogStream"], "Resource": [f"{group}:*", group]},
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParametersByPath", "ssm:PutParameter"],
            "Resource": ["here"],
        },
        {"Effect": "Allow", "Action": ["ssm:GetParametersByPath"], "Resource": ["*"]},
    ]


def test_what_is_wanted_survives_its_way_to_the_supervisor():
    wanted = Wanted(environment="other", port=4599, module="a.b", handler="c.d", virtual="/e")
    assert wanted_of(wanted.text()) == wanted


def test_a_rehearsals_tag_is_short_enough_for_interfaces():
    from cloudfn.rehearsal.site import Site

    assert len(Site(Path("/a/very/long/home")).tag + "up") <= 15
