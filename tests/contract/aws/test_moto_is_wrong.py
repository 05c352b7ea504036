"""Where moto and AWS differ: the fake has to be right, and moto still wrong.

A row whose moto half fails has become agreement: move it to the table of its service.
"""

import pytest

from cloudfn.clock import SystemClock

GROUP = {"AutoScalingGroupName": "group"}


def answer_of(call, **params):
    """Return the error code of a call, "accepted", or "crashed" where the emulator itself fails."""
    from botocore.exceptions import ClientError

    try:
        call(**params)
    except ClientError as error:
        return error.response["Error"]["Code"]
    except Exception:  # noqa: BLE001 - whatever an emulator raises
        return "crashed"
    return "accepted"


def control_characters(account):
    sqs = account.client("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    return answer_of(sqs.send_message, QueueUrl=url, MessageBody="\x01")


def unknown_attribute(account):
    sqs = account.client("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    call = sqs.set_queue_attributes
    return answer_of(call, QueueUrl=url, Attributes={"Nonsense": "1"})


def a_name_just_deleted(account):
    sqs = account.client("sqs")
    sqs.delete_queue(QueueUrl=sqs.create_queue(QueueName="q")["QueueUrl"])
    return answer_of(sqs.create_queue, QueueName="q")


def table(account):
    dynamodb = account.client("dynamodb")
    dynamodb.create_table(
        TableName="table",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    dynamodb.put_item(TableName="table", Item={"pk": {"S": "a"}, "n": {"N": "1"}})
    return dynamodb


def conditional(account, text, values=None):
    params = {"ConditionExpression": text} if text else {}
    params |= {"ExpressionAttributeValues": values} if values else {}
    call = table(account).put_item
    return answer_of(call, TableName="table", Item={"pk": {"S": "a"}}, **params)


def number_below_text(account):
    return conditional(account, "n < :s", {":s": {"S": "x"}})


def size_of_nothing(account):
    return conditional(account, "size(nothing) < :n", {":n": {"N": "1"}})


def undefined_value(account):
    return conditional(account, "n = :n")


def half_a_condition(account):
    return conditional(account, "attribute_exists(pk) AND")


def unused_value(account):
    return conditional(account, "", {":n": {"N": "1"}})


def twenty_six_writes(account):
    puts = [{"PutRequest": {"Item": {"pk": {"S": str(n)}}}} for n in range(26)]
    return answer_of(table(account).batch_write_item, RequestItems={"table": puts})


def one_token_twice(account):
    dynamodb = table(account)
    update = {
        "TableName": "table",
        "Key": {"pk": {"S": "a"}},
        "UpdateExpression": "ADD n :n",
        "ExpressionAttributeValues": {":n": {"N": "1"}},
    }
    for _ in range(2):
        dynamodb.transact_write_items(
            TransactItems=[{"Update": update}], ClientRequestToken="token"
        )
    return dynamodb.get_item(TableName="table", Key={"pk": {"S": "a"}})["Item"]["n"]["N"]


def put_parameter(account, **params):
    call = account.client("ssm").put_parameter
    return answer_of(call, **{"Name": "/a", "Value": "1", "Type": "String", **params})


def a_value_of_4097_bytes(account):
    return put_parameter(account, Value="x" * 4097)


def a_value_of_8193_bytes(account):
    return put_parameter(account, Value="x" * 8193, Tier="Advanced")


def sixteen_levels(account):
    return put_parameter(account, Name="/" + "/".join("x" * 17))


def log_stream(account, *names):
    logs = account.client("logs")
    logs.create_log_group(logGroupName="/g")
    for name in names:
        logs.create_log_stream(logGroupName="/g", logStreamName=name)
    clock = account.fake.clock if account.fake else SystemClock()
    return logs, int(clock.wall() * 1000)


def log(logs, stream, *events):
    return logs.put_log_events(
        logGroupName="/g",
        logStreamName=stream,
        logEvents=[{"timestamp": at, "message": message} for at, message in events],
    )


def logged(account, **params):
    """Return what three events of two streams are, in the order in which they are read."""
    logs, now = log_stream(account, "a", "b")
    log(logs, "a", (now, "one"), (now + 2, "three"))
    log(logs, "b", (now + 1, "two"))
    found = logs.filter_log_events(logGroupName="/g", **params)["events"]
    return [each["message"] for each in found]


def streams_by_time(account):
    return logged(account)


def streams_by_prefix(account):
    return logged(account, logStreamNamePrefix="b")


def two_words(account):
    logs, now = log_stream(account, "a")
    log(logs, "a", (now, "one and two"), (now, "two"))
    found = logs.filter_log_events(logGroupName="/g", filterPattern='"one" "two"')["events"]
    return [each["message"] for each in found]


def events_of_two_days(account):
    logs, now = log_stream(account, "a")
    return answer_of(lambda: log(logs, "a", (now - 86_400_001, "x"), (now, "x")))


def the_end_of_old_events(account):
    logs, now = log_stream(account, "a")
    told = log(logs, "a", (now - 15 * 86_400_000, "x"), (now, "x"))["rejectedLogEventsInfo"]
    return told["tooOldLogEventEndIndex"]


def a_schedule_group_twice(account):
    scheduler = account.client("scheduler")
    scheduler.create_schedule_group(Name="group")
    return answer_of(scheduler.create_schedule_group, Name="group")


def create_schedule(account, **changes):
    params = {
        "Name": "schedule",
        "ScheduleExpression": "cron(0 6 * * ? *)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": "arn:aws:lambda:eu-central-1:123456789012:function:planner",
            "RoleArn": "arn:aws:iam::123456789012:role/scheduler",
        },
    }
    return answer_of(account.client("scheduler").create_schedule, **{**params, **changes})


def both_kinds_of_days(account):
    return create_schedule(account, ScheduleExpression="cron(0 6 1 * 2 *)")


def no_such_zone(account):
    return create_schedule(account, ScheduleExpressionTimezone="Mars/Olympus")


def no_such_schedule_group(account):
    return create_schedule(account, GroupName="nowhere")


def group(account):
    if account.fake is None:
        account.client("ec2").create_launch_template(
            LaunchTemplateName="template",
            LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"},
        )
    client = account.client("autoscaling")
    client.create_auto_scaling_group(
        **GROUP,
        MinSize=1,
        MaxSize=2,
        DesiredCapacity=1,
        LaunchTemplate={"LaunchTemplateName": "template", "Version": "$Latest"},
        AvailabilityZones=["eu-central-1a"],
    )
    return client


def members(client):
    described = client.describe_auto_scaling_groups(AutoScalingGroupNames=["group"])
    return described["AutoScalingGroups"][0]["Instances"]


def more_than_the_most(account):
    return answer_of(group(account).set_desired_capacity, **GROUP, DesiredCapacity=3)


def fewer_than_the_least(account):
    client = group(account)
    [instance] = members(client)
    return answer_of(
        client.terminate_instance_in_auto_scaling_group,
        InstanceId=instance["InstanceId"],
        ShouldDecrementDesiredCapacity=True,
    )


def a_group_with_instances(account):
    return answer_of(group(account).delete_auto_scaling_group, **GROUP)


def a_launch_with_a_hook(account):
    client = group(account)
    client.put_lifecycle_hook(
        **GROUP,
        LifecycleHookName="join",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
    )
    client.set_desired_capacity(**GROUP, DesiredCapacity=2)
    return sorted(each["LifecycleState"] for each in members(client))


def activities(account):
    return len(group(account).describe_scaling_activities(**GROUP)["Activities"])


WRONG = [
    (control_characters, "InvalidMessageContents", "accepted"),
    (unknown_attribute, "InvalidAttributeName", "accepted"),
    (a_name_just_deleted, "AWS.SimpleQueueService.QueueDeletedRecently", "accepted"),
    (number_below_text, "ConditionalCheckFailedException", "crashed"),
    (size_of_nothing, "ConditionalCheckFailedException", "crashed"),
    (undefined_value, "ValidationException", "crashed"),
    (half_a_condition, "ValidationException", "crashed"),
    (unused_value, "ValidationException", "accepted"),
    (twenty_six_writes, "ValidationException", "accepted"),
    (one_token_twice, "2", "3"),
    (a_value_of_4097_bytes, "ValidationException", "accepted"),
    (a_value_of_8193_bytes, "ValidationException", "accepted"),
    (sixteen_levels, "HierarchyLevelLimitExceededException", "accepted"),
    (more_than_the_most, "ValidationError", "accepted"),
    (fewer_than_the_least, "ValidationError", "accepted"),
    (a_group_with_instances, "ResourceInUse", "accepted"),
    (a_launch_with_a_hook, ["InService", "Pending:Wait"], ["InService", "InService"]),
    (activities, 1, 0),
    (streams_by_time, ["one", "two", "three"], ["one", "three", "two"]),
    (streams_by_prefix, ["two"], ["one", "three", "two"]),
    (two_words, ["one and two"], []),
    (events_of_two_days, "InvalidParameterException", "accepted"),
    (the_end_of_old_events, 1, 0),
    (a_schedule_group_twice, "ConflictException", "accepted"),
    (both_kinds_of_days, "ValidationException", "accepted"),
    (no_such_zone, "ValidationException", "accepted"),
    (no_such_schedule_group, "ResourceNotFoundException", "crashed"),
]


@pytest.mark.parametrize(
    ("ask", "of_aws", "of_moto"), WRONG, ids=[ask.__name__ for ask, _, _ in WRONG]
)
def test_the_fake_answers_as_aws_and_moto_does_not(account, ask, of_aws, of_moto):
    found = ask(account)

    assert found == (of_moto if account.fake is None else of_aws)
