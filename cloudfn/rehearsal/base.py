"""Makes the environment that infra/terraform describes, in the emulated account."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloudfn.providers.aws.infra.state import bucket_location
from cloudfn.providers.aws.keys import make_key
from cloudfn.rehearsal import userdata
from cloudfn.rehearsal.lifecycle import LAUNCHING, TERMINATING
from cloudfn.rehearsal.names import ROLES, Names, as_emulated, outputs
from cloudfn.rehearsal.site import ACCOUNT, MachineClass, Wanted

#: as EC2's example images are called
_IMAGE = "ami-0123456789abcdef0"
#: seconds for which credentials of a role are good: nobody renews those of a machine
SESSION = 12 * 3600


def make_base(of: Callable[[str], Any], wanted: Wanted, bundle: Path, sha256: str) -> None:
    """Make everything that an environment needs, once.

    Args:
        of: Gives boto3's client of a service.
        wanted: What is to be emulated.
        bundle: The zip that machines fetch.
        sha256: Its SHA-256.
    """
    names = Names(wanted.environment, wanted.region)
    _store(of, names, bundle, sha256)
    of("sqs").create_queue(
        QueueName=names.dead,
        Attributes={"MessageRetentionPeriod": str(14 * 86400), "VisibilityTimeout": "120"},
    )
    of("ecr").create_repository(repositoryName=names.repository, imageTagMutability="IMMUTABLE")
    of("logs").create_log_group(logGroupName=names.log_group)
    _roles(of("iam"), names)
    of("scheduler").create_schedule_group(Name=names.prefix)
    make_key(of("ssm"), wanted.environment)
    _planner(of, names, wanted.handler or userdata.planner_handler(), f"agent/{sha256}.zip")
    subnet = _network(of("ec2"), wanted.environment)
    for name, each in wanted.classes.items():
        text = user_data(wanted, name, sha256)
        _machine_class(of, names, name, each, text, subnet)
    of("ssm").put_parameter(
        Name=names.parameter, Type="String", Value=json.dumps(outputs(wanted, sha256))
    )


def user_data(wanted: Wanted, machine_class: str, sha256: str) -> str:
    """Return what machines of a class start with."""
    names, folder = Names(wanted.environment, wanted.region), userdata.module_folder()
    values: Mapping[str, str | int] = {
        **userdata.defaults(folder),
        **({"module": wanted.module} if wanted.module else {}),
        "bucket": names.bucket,
        "environment": wanted.environment,
        "key": f"agent/{sha256}.zip",
        "machine_class": machine_class,
        "region": wanted.region,
        "sha256": sha256,
    }
    return userdata.rendered(folder, values)


def _store(of: Callable[[str], Any], names: Names, bundle: Path, sha256: str) -> None:
    dynamodb, s3 = of("dynamodb"), of("s3")
    dynamodb.create_table(
        TableName=names.prefix,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
    )
    dynamodb.update_time_to_live(
        TableName=names.prefix,
        TimeToLiveSpecification={"AttributeName": "expires", "Enabled": True},
    )
    s3.create_bucket(Bucket=names.bucket, **bucket_location(names.region))
    with bundle.open("rb") as file:
        s3.put_object(Bucket=names.bucket, Key=f"agent/{sha256}.zip", Body=file)


def _roles(iam: Any, names: Names) -> None:
    folder = userdata.module_folder().parent / "roles" / "policies"
    values = {
        "account_id": ACCOUNT,
        "bucket": names.bucket,
        "environment": names.environment,
        "name": names.prefix,
        "partition": "aws",
        "region": names.region,
    }
    trusted = {**ROLES, "scheduler": {"Service": "scheduler.amazonaws.com"}}
    for role, principal in trusted.items():
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        trust = {"Version": "2012-10-17", "Statement": [statement]}
        iam.create_role(
            RoleName=names.role(role),
            AssumeRolePolicyDocument=json.dumps(trust),
            MaxSessionDuration=SESSION,
        )
    # Whoever deploys also calls. What limits agents and callers goes by keys of DynamoDB, which the
    # emulator does not look at.
    for role, document in (*((role, role) for role in ROLES), ("deployer", "invoker")):
        policy = userdata.render((folder / f"{document}.json.tftpl").read_text(), values)
        iam.put_role_policy(
            RoleName=names.role(role), PolicyName=document, PolicyDocument=as_emulated(policy)
        )


def _planner(of: Callable[[str], Any], names: Names, handler: str, key: str) -> None:
    functions, events = of("lambda"), of("events")
    made = functions.create_function(
        FunctionName=names.planner,
        Runtime="python3.12",
        Role=names.role_arn("planner"),
        Handler=handler,
        Code={"S3Bucket": names.bucket, "S3Key": key},
        Timeout=100,
        MemorySize=512,
        Environment={
            "Variables": {
                "CLOUDFN_ENVIRONMENT": names.environment,
                # Lambda says it by itself; so botocore tells whoever is asked.
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
            }
        },
    )
    functions.put_function_event_invoke_config(
        FunctionName=names.planner, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60
    )
    events.put_rule(Name=names.planner, ScheduleExpression="rate(1 minute)")
    target = {
        "Id": "planner",
        "Arn": made["FunctionArn"],
        "Input": json.dumps({"source": "minute"}),
    }
    events.put_targets(Rule=names.planner, Targets=[target])


def _network(ec2: Any, environment: str) -> str:
    vpc = ec2.create_vpc(CidrBlock="10.64.0.0/16")["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "cloudfn:environment", "Value": environment}])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.64.0.0/20")
    return str(subnet["Subnet"]["SubnetId"])


def _machine_class(
    of: Callable[[str], Any],
    names: Names,
    name: str,
    shape: MachineClass,
    text: str,
    subnet: str,
) -> None:
    group, scaling = names.group(name), of("autoscaling")
    tags = {
        "Name": group,
        "cloudfn:environment": names.environment,
        "cloudfn:machine-class": name,
    }
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    of("ec2").create_launch_template(
        LaunchTemplateName=group,
        LaunchTemplateData={
            "ImageId": _IMAGE,
            "UserData": base64.b64encode(text.encode()).decode(),
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "TagSpecifications": [{"ResourceType": "instance", "Tags": listed}],
        },
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=group,
        MinSize=0,
        MaxSize=shape.max_machines,
        DesiredCapacity=0,
        VPCZoneIdentifier=subnet,
        NewInstancesProtectedFromScaleIn=True,
        CapacityRebalance=shape.purchase == "spot",
        MixedInstancesPolicy={
            "InstancesDistribution": {
                "OnDemandBaseCapacity": 0,
                "OnDemandPercentageAboveBaseCapacity": 0 if shape.purchase == "spot" else 100,
            },
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateName": group,
                    "Version": "$Default",
                },
                "Overrides": [{"InstanceType": each} for each in shape.instance_types],
            },
        },
        Tags=[{**each, "PropagateAtLaunch": True} for each in listed],
    )
    for hook, transition, seconds, result in (
        ("join", LAUNCHING, 600, "ABANDON"),
        ("drain", TERMINATING, 120, "CONTINUE"),
    ):
        scaling.put_lifecycle_hook(
            AutoScalingGroupName=group,
            LifecycleHookName=hook,
            LifecycleTransition=transition,
            HeartbeatTimeout=seconds,
            DefaultResult=result,
        )
