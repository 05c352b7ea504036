"""Every example is planned with the current provider's schema, and the plan says what it should."""

from __future__ import annotations

import json

import pytest

from tests.terraform import runs, toolbox
from tests.terraform.runs import EXAMPLES, resources


def test_files_are_formatted_as_terraform_does():
    copy = runs.Copy(toolbox.MODULES, toolbox.MODULES / "none")
    done = copy.terraform(toolbox.MODULES, "fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_nothing_can_be_reached_from_outside(plan_of, example):
    runs.check_closed(plan_of(example))


@pytest.mark.parametrize("example", EXAMPLES)
def test_machines_answer_to_their_own_system_alone_and_write_on_encrypted_disks(plan_of, example):
    runs.check_machines(plan_of(example))


@pytest.mark.parametrize("example", EXAMPLES)
def test_groups_begin_empty_and_give_their_tags_to_machines(plan_of, example):
    for group in resources(plan_of(example), "aws_autoscaling_group").values():
        assert (group["min_size"], group["desired_capacity"]) == (0, 0)
        assert group["protect_from_scale_in"]
        assert group["suspended_processes"] == ["AZRebalance"]
        tags = {each["key"]: each["value"] for each in group["tag"] if each["propagate_at_launch"]}
        assert tags["cloudfn:environment"] == "main"


def test_a_class_is_purely_spot_or_purely_on_demand(plan_of):
    groups = resources(plan_of("spot"), "aws_autoscaling_group")
    shares = {
        group["name"]: (
            group["mixed_instances_policy"][0]["instances_distribution"][0][
                "on_demand_percentage_above_base_capacity"
            ],
            group["capacity_rebalance"],
        )
        for group in groups.values()
    }
    assert shares == {"cloudfn-main-cpu-spot": (0, True), "cloudfn-main-cpu": (100, False)}


def test_a_warm_pool_is_of_one_type_and_all_others_have_none(plan_of):
    groups = resources(plan_of("existing-vpc"), "aws_autoscaling_group")
    templates = resources(plan_of("existing-vpc"), "aws_launch_template")
    [(group, template)] = zip(groups.values(), templates.values(), strict=True)
    [pool] = group["warm_pool"]

    assert (pool["max_group_prepared_capacity"], pool["pool_state"]) == (2, "Stopped")
    assert group["mixed_instances_policy"] == []
    assert len(group["launch_template"]) == 1
    assert template["instance_type"] == "m7i.large"
    for other in resources(plan_of("gpu"), "aws_autoscaling_group").values():
        assert (other["warm_pool"], other["launch_template"]) == ([], [])


def test_images_fit_the_processor_and_the_gpu(plan_of):
    images = {
        each["name"]: each["image_id"]
        for each in resources(plan_of("gpu"), "aws_launch_template").values()
    }
    start = "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/"
    assert images == {
        "cloudfn-main-cpu": start + "arm64/recommended/image_id",
        "cloudfn-main-l4": start + "gpu/recommended/image_id",
        "cloudfn-main-h100": start + "gpu/recommended/image_id",
    }


def test_an_existing_network_is_taken_as_it_is(plan_of):
    plan = plan_of("existing-vpc")
    for kind in ("aws_vpc", "aws_subnet", "aws_nat_gateway", "aws_route", "aws_vpc_endpoint"):
        assert not resources(plan, kind)
    [group] = resources(plan, "aws_autoscaling_group").values()
    assert group["vpc_zone_identifier"] == ["subnet-0123456789abcdef0"]


def test_whoever_writes_to_a_table_with_a_key_may_use_it_as_dynamodb_asks(plan_of):
    policies = resources(plan_of("existing-vpc"), "aws_iam_role_policy").values()
    given = [json.loads(each["policy"])["Statement"] for each in policies if each["name"] == "kms"]
    assert len(given) == 4
    wanted = {"Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey*", "ReEncrypt*"}
    for [statement] in given:
        assert set(statement["Action"]) == {f"kms:{each}" for each in wanted}


def test_the_minimal_environment_has_nothing_that_bills_by_the_hour(plan_of):
    plan = plan_of("minimal")
    for kind in ("aws_nat_gateway", "aws_eip", "aws_instance", "aws_kms_key"):
        assert not resources(plan, kind)
    endpoints = resources(plan, "aws_vpc_endpoint").values()
    assert {each["vpc_endpoint_type"] for each in endpoints} == {"Gateway"}
    assert {each["billing_mode"] for each in resources(plan, "aws_dynamodb_table").values()} == {
        "PAY_PER_REQUEST"
    }


@pytest.mark.parametrize("example", EXAMPLES)
def test_everything_that_can_be_tagged_says_whose_it_is(plan_of, example):
    provider = plan_of(example)["configuration"]["provider_config"]["aws"]["expressions"]
    assert "default_tags" in provider
    for template in resources(plan_of(example), "aws_launch_template").values():
        for each in template["tag_specifications"]:
            assert each["tags"]["cloudfn:environment"] == "main"


@pytest.mark.parametrize("example", EXAMPLES)
def test_state_lies_in_a_bucket_with_a_lock(example):
    text = (toolbox.MODULES / "examples" / example / "versions.tf").read_text()
    assert 'backend "s3"' in text
    assert "use_lockfile = true" in text.replace("  ", " ").replace("  ", " ")
    assert "bucket" not in text.split('backend "s3"')[1].split("}")[0]


def test_what_holds_data_refuses_to_be_destroyed():
    text = {
        name: "\n".join(
            file.read_text() for file in (toolbox.MODULES / "modules" / name).glob("*.tf")
        )
        for name in ("store", "registry")
    }
    assert text["store"].count("prevent_destroy = true") == 2
    assert text["registry"].count("prevent_destroy = true") == 1


def test_the_modules_own_tests_pass(pretended):
    pretended.init(pretended.root)
    done = pretended.terraform(pretended.root, "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed, 0 failed" in done.stdout
