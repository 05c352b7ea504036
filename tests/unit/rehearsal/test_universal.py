"""What schedules do by themselves in a rehearsal."""

import json

from ministack.services import ssm

from cloudfn.rehearsal.universal import invoking

PUT = "arn:aws:scheduler:::aws-sdk:ssm:putParameter"
NAME = "/cloudfn/main/pools/fu-1/scheduled"


def test_a_schedule_writes_a_parameter_and_other_targets_go_where_they_went(caplog):
    others = []
    invoke = invoking(lambda target, *_: others.append(target))
    told = {"Name": NAME, "Type": "String", "Value": "4", "Overwrite": True}
    planner = {"Arn": "arn:aws:lambda:eu-central-1:000000000000:function:planner", "Input": "{}"}
    invoke(planner, {}, {})
    for value in "45":
        invoke({"Arn": PUT, "Input": json.dumps({**told, "Value": value})}, {}, {})
    assert ssm.resolve_parameter_value(NAME) == "5"
    assert others == [planner]
    invoke({"Arn": PUT, "Input": json.dumps({**told, "Overwrite": False})}, {}, {})
    assert "already exists" in caplog.text
