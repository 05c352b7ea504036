"""What every fleet promises, and what the one on Auto Scaling promises beyond."""

import pytest

from cloudfn.errors import (
    ConflictError,
    ConnectionError,  # noqa: A004 - ours
    NotFoundError,
    ServiceError,
)
from cloudfn.model.gpu import Gpu
from cloudfn.providers.aws.fleet import AutoScalingFleet
from cloudfn.providers.aws.outputs import Group
from cloudfn.providers.fleet import InstanceState, MachineClass
from cloudfn.testing.aws import FakeAws, FleetKnobs, Knobs
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.memory_fleet import MemoryFleet

ZONES = ("eu-central-1a", "eu-central-1b")


class OnAws:
    """A fleet on a fake account, with groups as Terraform makes them."""

    def __init__(self, aws, *, most=10, page=50, attempts=8, warm=0):
        self.aws, self.clock, self._warm = aws, aws.clock, warm
        groups = {
            "small": Group("cloudfn-main-small", ("m7i.large",), "x86_64", False, False, most),
            "spot": Group("cloudfn-main-spot", ("g5.xlarge",), "x86_64", True, True, 5),
        }
        for group in groups.values():
            self._make(group)
        self.fleet = AutoScalingFleet(aws.clients(attempts), groups, aws.clock, page=page)

    def _make(self, group):
        client = self.aws.client("autoscaling")
        distribution = {"OnDemandPercentageAboveBaseCapacity": 0 if group.spot else 100}
        template = {
            "LaunchTemplateSpecification": {"LaunchTemplateName": group.group},
            "Overrides": [{"InstanceType": each} for each in group.instance_types],
        }
        mixed = {"InstancesDistribution": distribution, "LaunchTemplate": template}
        has_warm_pool = self._warm and not group.spot
        client.create_auto_scaling_group(
            AutoScalingGroupName=group.group,
            MinSize=0,
            MaxSize=group.max_machines,
            DesiredCapacity=0,
            VPCZoneIdentifier="subnet-1,subnet-2",
            NewInstancesProtectedFromScaleIn=True,
            **(
                {"LaunchTemplate": {"LaunchTemplateName": group.group}}
                if has_warm_pool
                else {"MixedInstancesPolicy": mixed}
            ),
        )
        for name, way, result in (
            ("join", "LAUNCHING", "ABANDON"),
            ("drain", "TERMINATING", "CONTINUE"),
        ):
            client.put_lifecycle_hook(
                AutoScalingGroupName=group.group,
                LifecycleHookName=name,
                LifecycleTransition=f"autoscaling:EC2_INSTANCE_{way}",
                DefaultResult=result,
                HeartbeatTimeout=600 if name == "join" else 120,
            )
        client.suspend_processes(AutoScalingGroupName=group.group, ScalingProcesses=["AZRebalance"])
        if has_warm_pool:
            client.put_warm_pool(
                AutoScalingGroupName=group.group, MaxGroupPreparedCapacity=self._warm
            )

    def group(self, name="small"):
        return self.aws.fleet.groups[f"cloudfn-main-{name}"]

    def refuse(self, name):
        kind = self.group(name).offers[0].type
        for zone in ZONES:
            self.aws.fleet.limit(kind, zone, 0)

    def suspend(self, name, process):
        self.aws.client("autoscaling").suspend_processes(
            AutoScalingGroupName=f"cloudfn-main-{name}", ScalingProcesses=[process]
        )


class InMemory:
    def __init__(self, warm=0):
        self.clock = FakeClock(sleepless=True)
        classes = [
            MachineClass("small", 2, 7_000, max_machines=10),
            MachineClass("spot", 4, 15_000, (Gpu(0, "", "NVIDIA A10G", 24_576),), max_machines=5),
        ]
        self.fleet = MemoryFleet(
            classes, self.clock, boot=60, shutdown=120, warm={"small": warm}, warm_boot=15
        )

    def refuse(self, name):
        self.fleet.refuse(name, "InsufficientInstanceCapacity")

    def suspend(self, name, process):
        what = {"Launch": "no_growth", "Terminate": "no_retiring"}[process]
        self.fleet.change(name, **{what: "suspended"})


@pytest.fixture(params=["auto scaling", "nasty auto scaling", "memory"])
def world(request):
    if request.param == "memory":
        return InMemory()
    knobs = Knobs.calm() if request.param == "auto scaling" else Knobs()
    return OnAws(FakeAws(knobs=knobs))


@pytest.fixture
def fleet(world):
    return world.fleet


def states(world):
    """Return the states of all machines, when everybody has heard of everything."""
    world.clock.advance(6)
    return {each.machine_id: each.state for each in world.fleet.instances()}


def join(world, machine_ids):
    world.clock.advance(120)
    for machine_id in machine_ids:
        world.fleet.joined(machine_id)


def test_classes_say_what_containers_may_use(fleet):
    small, spot = sorted(fleet.classes(), key=lambda each: each.name)

    assert small.max_machines == 10
    assert small.cores == 2
    assert 6_000 < small.memory < 8_192
    assert small.gpus == ()
    assert spot.gpus == (Gpu(0, "", "NVIDIA A10G", 24_576),)


def test_machines_that_were_asked_for_come_and_join(world, fleet):
    grown = fleet.grow("small", 3, "t1")

    assert grown.granted == 3
    assert len(grown.machine_ids) == 3
    assert states(world) == dict.fromkeys(grown.machine_ids, InstanceState.PENDING)
    join(world, grown.machine_ids)
    assert states(world) == dict.fromkeys(grown.machine_ids, InstanceState.IN_SERVICE)


def test_the_same_token_asks_once(world, fleet):
    first = fleet.grow("small", 3, "t1")

    assert fleet.grow("small", 3, "t1") == first
    assert len(states(world)) == 3


def test_never_more_than_a_class_may_have(world, fleet):
    first = fleet.grow("small", 8, "t1")
    world.clock.advance(6)

    second = fleet.grow("small", 5, "t2")
    world.clock.advance(6)
    third = fleet.grow("small", 1, "t3")

    assert (first.granted, second.granted, third.granted) == (8, 2, 0)
    assert second.refused
    assert third.refused
    assert len(states(world)) == 10


def test_what_cannot_be_had_is_said_and_not_waited_for(world, fleet):
    world.refuse("spot")

    grown = fleet.grow("spot", 2, "t1")

    assert grown.granted == 0
    assert grown.refused == "InsufficientInstanceCapacity"
    assert states(world) == {}


def test_there_is_no_growing_where_launches_are_suspended(world, fleet):
    world.suspend("small", "Launch")
    world.clock.advance(6)

    classes = {each.name: each for each in fleet.classes()}

    assert "suspended" in classes["small"].no_growth
    assert not classes["spot"].no_growth
    assert fleet.grow("small", 1, "t1").refused
    assert states(world) == {}


def test_it_is_said_that_nothing_may_be_ended(world, fleet):
    world.suspend("small", "Terminate")
    world.clock.advance(6)

    classes = {each.name: each for each in fleet.classes()}

    assert "suspended" in classes["small"].no_retiring


def test_exactly_those_are_ended_that_are_named_and_nobody_comes_in_their_place(world, fleet):
    ids = fleet.grow("small", 4, "t1").machine_ids
    join(world, ids)

    fleet.retire(ids[1:3])
    fleet.retire([ids[2], "i-0000000000000000f"])

    after = states(world)
    assert {each for each in ids if after.get(each) == InstanceState.IN_SERVICE} == {ids[0], ids[3]}
    for machine_id in ids[1:3]:
        fleet.drained(machine_id)
    world.clock.advance(200)
    assert set(states(world)) == {ids[0], ids[3]}


def test_a_machine_that_boots_can_be_ended(world, fleet):
    ids = fleet.grow("small", 2, "t1").machine_ids
    world.clock.advance(6)

    fleet.retire(ids[:1])
    world.clock.advance(400)

    assert ids[0] not in states(world)


def test_a_class_that_is_not_there_is_an_error(fleet):
    with pytest.raises(NotFoundError, match="large"):
        fleet.grow("large", 1, "t1")


def test_joining_and_draining_twice_is_harmless(world, fleet):
    ids = fleet.grow("small", 1, "t1").machine_ids
    join(world, ids)

    fleet.joined(ids[0])
    fleet.drained(ids[0])

    assert states(world) == {ids[0]: InstanceState.IN_SERVICE}


# ------------------------------------------------------------------------------------------ warm


@pytest.fixture(params=["auto scaling", "nasty auto scaling", "memory"])
def warm(request):
    """Give a fleet with two warm machines of class "small", and their ids."""
    if request.param == "memory":
        world = InMemory(warm=2)
    else:
        knobs = Knobs.calm() if request.param == "auto scaling" else Knobs()
        world = OnAws(FakeAws(knobs=knobs), warm=2)
    return world, warm_up(world)


def warm_up(world):
    """Have machines boot and be put aside; return their ids."""
    states(world)
    world.clock.advance(200)
    ids = set(states(world))
    for machine_id in ids:
        world.fleet.prepared(machine_id)
    assert states(world) == dict.fromkeys(ids, InstanceState.WARM)
    return ids


def test_warm_machines_come_into_service_before_new_ones(warm):
    world, ids = warm

    assert world.fleet.grow("small", 2, "t1").granted == 2

    world.clock.advance(60)
    for machine_id in ids:
        world.fleet.joined(machine_id)
    after = states(world)
    assert {each for each, state in after.items() if state == InstanceState.IN_SERVICE} == ids


def test_warm_machines_do_not_count_for_what_a_class_may_have(warm):
    world, ids = warm

    grown = world.fleet.grow("small", 20, "t1")

    assert grown.granted == 10
    world.clock.advance(60)
    assert ids <= {each for each, state in states(world).items() if state != InstanceState.WARM}


def test_warm_machines_are_not_ended_and_those_in_service_are(warm):
    world, ids = warm
    world.fleet.retire(list(ids))
    assert states(world) == dict.fromkeys(ids, InstanceState.WARM)
    world.fleet.grow("small", 1, "t1")
    world.clock.advance(60)
    served = next(each for each, state in states(world).items() if state != InstanceState.WARM)
    world.fleet.joined(served)

    world.fleet.retire([served])
    world.fleet.drained(served)
    world.clock.advance(200)

    assert InstanceState.IN_SERVICE not in states(world).values()
    assert served not in states(world)


def test_preparing_what_serves_is_harmless(warm):
    world, ids = warm
    world.fleet.grow("small", 2, "t1")
    world.clock.advance(60)
    for machine_id in ids:
        world.fleet.joined(machine_id)

    world.fleet.prepared(min(ids))

    assert states(world)[min(ids)] == InstanceState.IN_SERVICE


# ---------------------------------------------------------------------------------- auto scaling


@pytest.fixture
def aws():
    return FakeAws(knobs=Knobs.calm())


def test_a_zone_without_capacity_is_made_up_for_by_the_other(aws):
    world = OnAws(aws)
    aws.fleet.limit("m7i.large", ZONES[0], 1)

    grown = world.fleet.grow("small", 6, "t1")

    assert (grown.granted, grown.refused) == (6, "")
    zones = [each.zone for each in world.fleet.instances()]
    assert zones.count(ZONES[0]) == 1


def test_fewer_machines_than_asked_for_are_a_refusal(aws):
    world = OnAws(aws)
    aws.fleet.limit("m7i.large", ZONES[0], 1)
    aws.fleet.limit("m7i.large", ZONES[1], 2)

    grown = world.fleet.grow("small", 6, "t1")

    assert (grown.granted, grown.refused) == (3, "InsufficientInstanceCapacity")


def test_machines_are_spread_over_zones(aws):
    world = OnAws(aws)
    world.fleet.grow("small", 6, "t1")

    zones = [each.zone for each in world.fleet.instances()]

    assert (zones.count(ZONES[0]), zones.count(ZONES[1])) == (3, 3)


def test_an_answer_that_was_lost_launches_nothing_twice(aws):
    world = OnAws(aws)
    aws.faults.lose_answer("autoscaling", "LaunchInstances")

    grown = world.fleet.grow("small", 3, "t1")

    assert grown.granted == 3
    assert len(world.fleet.instances()) == 3


def test_where_instances_cannot_be_launched_one_by_one_the_group_wants_more(aws):
    world = OnAws(aws)
    aws.faults.fail("autoscaling", "LaunchInstances", "InvalidAction", times=None)

    grown = world.fleet.grow("small", 3, "t1")
    again = world.fleet.grow("small", 9, "t2")

    assert grown == (3, (), "")
    assert again == (7, (), "cloudfn-main-small may have 10 machines")
    assert len(world.fleet.instances()) == 10


def test_a_group_that_could_not_get_what_it_wants_is_refused_and_wants_it_no_more(aws):
    world = OnAws(aws)
    aws.faults.fail("autoscaling", "LaunchInstances", "InvalidAction", times=None)
    world.refuse("small")
    world.fleet.grow("small", 3, "t1")
    aws.clock.advance(1)
    aws.client("autoscaling").describe_auto_scaling_groups()

    refused = world.fleet.grow("small", 1, "t2")

    assert refused.granted == 0
    assert "InsufficientInstanceCapacity" in refused.refused
    assert world.group().desired == 0


def test_every_page_is_read(aws):
    world = OnAws(aws, page=1)
    ids = world.fleet.grow("small", 3, "t1").machine_ids
    world.fleet.grow("spot", 1, "t2")

    join(world, ids)

    assert len(world.fleet.instances()) == 4
    assert len(world.fleet.classes()) == 2
    world.fleet.retire(ids)
    assert world.group().desired == 0


def test_launch_times_are_known(aws):
    world = OnAws(aws)
    world.fleet.grow("small", 1, "t1")
    launched = aws.clock.wall()
    aws.clock.advance(10)

    assert [each.launched for each in world.fleet.instances()] == [launched]
    world.fleet.instances()
    assert aws.faults.calls["ec2", "DescribeInstances"] == 1


def test_many_machines_are_ended_a_hundred_at_a_time(aws):
    world = OnAws(aws, most=150)
    ids = world.fleet.grow("small", 120, "t1").machine_ids

    world.fleet.retire(ids)

    assert world.group().desired == 0
    assert aws.faults.calls["autoscaling", "TerminateInstanceInAutoScalingGroup"] == 2


def test_types_that_a_region_lacks_keep_no_other_from_being_used(aws):
    world = OnAws(aws)
    groups = {
        "some": Group("cloudfn-main-small", ("z9.large", "m7i.large"), "x86_64", False, False, 1),
        "none": Group("cloudfn-main-none", ("z9.large",), "x86_64", False, False, 1),
        "spot": Group("cloudfn-main-spot", ("g5.xlarge",), "x86_64", True, True, 5),
    }
    fleet = AutoScalingFleet(aws.clients(), groups, world.clock)

    assert [(each.name, each.cores) for each in fleet.classes()] == [("some", 2), ("spot", 4)]


@pytest.mark.parametrize("code", ["ScalingActivityInProgress", "ResourceContention"])
def test_meeting_another_activity_is_tried_again(aws, code):
    world = OnAws(aws)
    aws.faults.fail("autoscaling", "LaunchInstances", code, times=2)
    ids = world.fleet.grow("small", 2, "t1").machine_ids
    aws.faults.fail("autoscaling", "TerminateInstanceInAutoScalingGroup", code, times=2)

    world.fleet.retire(ids)

    assert world.group().desired == 0


def test_what_meets_others_for_long_is_left_to_the_next_time(aws):
    world = OnAws(aws)
    aws.faults.fail("autoscaling", "LaunchInstances", "ScalingActivityInProgress", times=None)

    with pytest.raises(ConflictError):
        world.fleet.grow("small", 1, "t1")


def test_a_failure_of_aws_is_no_reason_to_ask_otherwise(aws):
    world = OnAws(aws)
    aws.faults.fail("autoscaling", "LaunchInstances", "InternalError", times=None)

    with pytest.raises(ServiceError):
        world.fleet.grow("small", 1, "t1")

    assert world.group().desired == 0


def test_no_answer_is_no_reason_to_ask_otherwise(aws):
    world = OnAws(aws, attempts=1)
    aws.faults.lose_answer("autoscaling", "LaunchInstances")

    with pytest.raises(ConnectionError):
        world.fleet.grow("small", 1, "t1")

    assert len(world.fleet.instances()) == 1


def test_an_instance_refresh_is_said(aws):
    world = OnAws(aws)
    ids = world.fleet.grow("small", 1, "t1").machine_ids
    join(world, ids)
    aws.client("autoscaling").start_instance_refresh(AutoScalingGroupName="cloudfn-main-small")

    classes = {each.name: each for each in world.fleet.classes()}

    assert classes["small"].no_retiring == "an instance refresh is under way"
    assert not classes["spot"].no_retiring


def test_a_group_that_is_not_there_can_have_no_machines(aws):
    world = OnAws(aws)
    aws.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName="cloudfn-main-small")
    aws.clock.advance(1)

    small = next(each for each in world.fleet.classes() if each.name == "small")

    assert (small.max_machines, small.no_growth) == (0, "its Auto Scaling Group is not there")
    assert world.fleet.grow("small", 1, "t1").granted == 0


def test_a_joined_machine_is_protected_and_serves(aws):
    world = OnAws(aws)
    ids = world.fleet.grow("small", 1, "t1").machine_ids
    world.group().instances[ids[0]].protected = False

    join(world, ids)

    assert world.group().instances[ids[0]].protected
    assert world.group().instances[ids[0]].state == "InService"


def test_a_machine_that_joins_early_waits_for_its_hook():
    aws = FakeAws(knobs=Knobs(fleet=FleetKnobs(boot=(12.0, 12.0), contention=0)))
    world = OnAws(aws)
    ids = world.fleet.grow("small", 1, "t1").machine_ids

    world.fleet.joined(ids[0])

    assert world.group().instances[ids[0]].state == "InService"


def test_a_machine_that_drains_is_gone_as_soon_as_it_says_so(aws):
    world = OnAws(aws)
    ids = world.fleet.grow("small", 1, "t1").machine_ids
    join(world, ids)
    world.fleet.retire(ids)
    assert world.group().instances[ids[0]].state == "Terminating:Wait"

    world.fleet.drained(ids[0])

    assert world.fleet.instances() == []


def test_a_machine_that_says_that_it_drains_is_waited_for_beyond_its_hook_and_not_for_ever(aws):
    world = OnAws(aws)
    ids = world.fleet.grow("small", 1, "t1").machine_ids
    join(world, ids)
    assert not world.fleet.hold(ids[0])
    world.fleet.retire(ids)
    timeout = world.group().hooks["drain"].timeout

    held = 0
    while world.fleet.hold(ids[0]):
        held += 1
        aws.clock.advance(timeout * 0.9)

    assert 100 <= held <= 112
    assert world.fleet.instances() == []
    assert not world.fleet.hold(ids[0])


def test_a_stopped_machine_costs_its_disk_and_comes_soon(aws):
    world = OnAws(aws, warm=2)

    small, spot = sorted(world.fleet.classes(), key=lambda each: each.name)

    assert small.warm_price == pytest.approx(60 * 0.08 / 730)
    assert small.boot_seconds < spot.boot_seconds
    assert spot.warm_price is None


def test_a_warm_machine_that_runs_costs_what_any_does(aws):
    world = OnAws(aws, warm=2)
    aws.client("autoscaling").put_warm_pool(
        AutoScalingGroupName="cloudfn-main-small", PoolState="Running"
    )

    small = next(each for each in world.fleet.classes() if each.name == "small")

    assert small.warm_price is None


def test_a_machine_waits_for_its_hook_again_when_it_leaves_the_warm_pool(aws):
    world = OnAws(aws, warm=1)
    [machine_id] = warm_up(world)
    world.fleet.grow("small", 1, "t1")
    world.clock.advance(60)

    assert states(world) == {machine_id: InstanceState.PENDING}
    assert world.group().instances[machine_id].state == "Pending:Wait"
    world.fleet.joined(machine_id)
    assert world.group().instances[machine_id].state == "InService"


def test_a_machine_that_is_not_prepared_in_time_is_not_kept(aws):
    world = OnAws(aws, warm=1)
    states(world)
    world.clock.advance(100)
    [machine_id] = states(world)

    world.clock.advance(601)

    assert machine_id not in states(world)
