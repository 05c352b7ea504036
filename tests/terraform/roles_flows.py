"""What each role ever does, through the ports of its cloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

from cloudfn.control.deploy.plan import DeployRequest, RollbackRequest, StopRequest
from cloudfn.control.invocation.ending import cancel
from cloudfn.control.invocation.front import Front
from cloudfn.control.planner.handler import invoked
from cloudfn.control.planner.survey import survey
from cloudfn.control.schedules.agenda import Agenda
from cloudfn.errors import Error
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.model.schedule import Cron, ScaleAt
from cloudfn.model.secret import SecretRef
from cloudfn.model.terms import Terms
from cloudfn.model.variant import Variant
from cloudfn.providers.aws.checks import check_access, check_leavings
from cloudfn.providers.aws.outputs import read_outputs
from cloudfn.providers.base import Cloud
from cloudfn.providers.catalog import AppRecord, RevisionSpec
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import CallSpec, Claim, Entry
from cloudfn.providers.machines import MachineReport, MachineState, Orders
from cloudfn.providers.objects import ObjectKind, ObjectRecord
from cloudfn.providers.presence import ClientRow
from cloudfn.providers.volumes import StagedFile
from cloudfn.providers.wakeups import Note
from cloudfn.sdk.bundle import BundleFile, digest_of
from cloudfn.wire.messages import BlobRef
from tests.terraform.recorded import REGION
from tests.terraform.roles_world import GROUP, IMAGE, SECRET, RolesWorld


def revision(*names: str, digest: str = "a" * 64, **more: Any) -> RevisionSpec:
    """Return an app with functions of these names."""
    functions = tuple(
        FunctionSpec(name=each, module="jobs", qualname=each, **more) for each in names
    )
    return RevisionSpec(digest, "jobs", functions, "", runtime="docker")


def deploy(world: RolesWorld) -> None:
    """Do what whoever deploys does."""
    aws = world.aws
    with world.role("deployer", "cl-deployer") as cloud:
        front = world.front(cloud, "cl-deployer")
        secrets = front.stores.secrets
        made = secrets.create({"name": "stripe", "object_id": SECRET, "values": {"KEY": "1"}}, 1.0)
        secrets.update({**made, "values": {"OTHER": "2"}}, 2.0)
        secrets.store({"values": {"A": "1"}}, 3.0)
        secrets.sweep({SECRET}, 1e12)
        cloud.images.build(IMAGE, _quiet)
        cloud.images.build(IMAGE, _quiet, anew=True)
        assert cloud.images.list()
        assert not cloud.depot.has_bundle("b" * 64)
        _bundle(world, cloud)
        nightly = revision(
            "f", "g", schedule=Cron("30 3 * * *"),
            scaling=(ScaleAt("0 8 * * *", min_containers=1),), secrets=(SecretRef("stripe"),),
        )  # fmt: skip
        secrets.check(nightly.functions)
        deployed = front.apps.carry_out(DeployRequest("shop", nightly)).app
        aws.client("sqs").set_queue_attributes(
            QueueUrl=_queue(world, cloud, deployed), Attributes={"VisibilityTimeout": "31"}
        )
        later = revision("f", schedule=Cron("31 3 * * *"))
        front.apps.carry_out(DeployRequest("shop", later))
        front.apps.carry_out(RollbackRequest("shop"))
        function = cloud.catalog.functions(deployed.app_id)[0]
        front.apps.update_settings(function.function_id, {"max_containers": 3}, "ada")
        front.apps.carry_out(DeployRequest("shop", later))
        agenda = Agenda(cloud.schedules)
        every = [each.schedule_id for each in agenda.records()]
        assert every
        agenda.pause(every, world.clock.wall(), paused=True)
        assert cloud.scheduled is not None
        cloud.scheduled.read()
        cloud.images.remove(IMAGE.digest)
        assert cloud.reach is not None
        cloud.reach.admit("i-0123456789abcdef0", "ssh-ed25519 AAAA")
        cloud.machines.order({"i-1": Orders(1, drain=True)})
        cloud.leadership.wake()
        # Calls of what is stopped end with it.
        _submit(cloud, function.function_id, "fc-stopped", 3)
        front.apps.carry_out(StopRequest("shop"))
        registry = front.stores.registry
        registry.delete(SECRET)
        front.close()


def call(world: RolesWorld, role: str, holder: str, app: AppRecord) -> None:
    """Do what whoever calls functions does: clients, and user code in containers."""
    with world.role(role, holder) as cloud:
        front = world.front(cloud, holder)
        now = world.clock.wall()
        function = cloud.catalog.functions(app.app_id)[0]
        cloud.catalog.revision(app.app_id, 1)
        cloud.catalog.override(function.function_id)
        cloud.catalog.bind(function.function_id, Variant({}, {"timeout": 60}))
        cloud.presence.beat(ClientRow(holder, ("a",), (), now + 60))
        _mail(world, cloud)
        _payloads(world, cloud, holder)
        call_id = f"fc-{holder}"
        _submit(cloud, function.function_id, call_id, 3, name=f"night-{holder}")
        cloud.ledger.outcomes(call_id)
        cloud.ledger.calls(limit=10)
        cloud.ledger.counts(f"{function.function_id}@1")
        cancel(cloud, call_id)
        cloud.ledger.outcomes(call_id)
        cloud.ledger.delivered(call_id, [0, 1, 2])
        cloud.ledger.dead_letters(limit=3, call_id=call_id)
        cloud.ledger.forget(call_id)
        cloud.machines.cancel("i-1", [(1, 1)])
        cloud.machines.list()
        if not cloud.leadership.led(now):
            cloud.leadership.wake()
        _stores(world, cloud, front)
        if role != "agent":
            cloud.logs.read(LogQuery(app.app_id))
            cloud.schedules.schedules()
        cloud.wakeups.close()
        cloud.presence.remove(holder)
        front.close()


def serve(world: RolesWorld, app: AppRecord) -> None:
    """Do what the agent of a machine does, from joining to leaving."""
    machine_id = world.machine()
    with world.role("deployer", "cl-deployer") as cloud:
        cloud.images.build(IMAGE, _quiet)
        _bundle(world, cloud)
        cloud.secrets.write("se-2", {"A": "1"}, 1.0)
        survey(cloud, world.clock.wall())
        with world.warm_pool():
            cloud.fleet.instances()
        list(check_access(world.clients, "main", REGION, world.clock.wall()))
        outputs = read_outputs(world.clients.of("ssm"), "main", REGION)
        list(check_leavings(world.clients, outputs, (), ()))
        cloud.doorbells.functions()
    with world.role("invoker", "cl-laptop") as client:
        function_id = client.catalog.functions(app.app_id)[0].function_id
        address = client.wakeups.open()
        _submit(client, function_id, "fc-served", 4, reply=address)
        ref = BlobRef("bl-input/1", 70_000, durable=False)
        client.depot.store(ref, world.file("payload", 70_000))
    with world.role("agent", machine_id) as cloud:
        report = MachineReport(machine_id, "cpu", MachineState.READY, 2.0, 4_096)
        _join(world, cloud, report)
        cloud.catalog.revision(app.app_id, 1)
        cloud.depot.fetch_bundle(world.digest, world.folder / "fetched-bundle")
        cloud.images.find(IMAGE)
        cloud.secrets.read(["se-2"])
        result = _run(world, cloud, function_id, ref)
        cloud.wakeups.tell(address, [Note("fc-served", (0,), (Status.RETURNED,), (b"r",))])
        cloud.depot.delete([ref, result])
        cloud.logs.write(
            LogEntry(1.0, app.app_id, app.name, "f", "co-1", "", "", "stdout", "hello\n")
        )
        cloud.logs.flush()
        _leave(world, cloud, report)
    call(world, "agent", f"{machine_id}-calls", app)


def plan(world: RolesWorld, app: AppRecord) -> None:
    """Do what the planner does, for hours."""
    clock = world.clock
    with world.role("invoker", "cl-gone") as client:
        front = world.front(client, "cl-gone")
        function_id = client.catalog.functions(app.app_id)[0].function_id
        address = client.wakeups.open()
        _submit(client, function_id, "fc-wanted", 300)
        _submit(client, function_id, "fc-gone", 2, reply=address, kind=CallKind.MAP)
        late = Terms(deadline=clock.wall() + 1)
        _submit(client, function_id, "fc-late", 2, reply=address, terms=late)
        owned = _ephemeral(world, client)
        client.presence.beat(ClientRow("cl-gone", (address,), owned, clock.wall() + 1))
        front.close()
    world.aws.client("sqs").create_queue(QueueName=f"cloudfn-main-reply-{'0' * 24}")
    scaling = (ScaleAt("*/7 * * * *", min_containers=0),)
    ephemeral = revision("h", schedule=Cron("0 0 1 1 *"), scaling=scaling)
    with world.role("deployer", "cl-ran") as cloud:
        front = world.front(cloud, "cl-ran")
        ran = front.apps.carry_out(DeployRequest("", ephemeral, state="ephemeral")).app
        clock.advance(500.0)
        world.aws.scheduler.run()
        cloud.presence.beat(ClientRow("cl-ran", (), (ran.app_id,), clock.wall() + 1))
        front.close()
    with world.role("planner", "pl-1") as cloud:
        event = {"source": "schedule", "schedule": "sc-1", "due": clock.wall()}
        for pause in (60.0, 600.0, 1_800.0, 86_400.0):
            invoked(cloud, event, "pl-1", clock, world.settings)
            event = {}
            _ring_in_vain(world, function_id)
            clock.advance(pause)
        assert cloud.ledger.call("fc-gone") is None
        # Where Auto Scaling has no LaunchInstances, and at the end of machines.
        world.aws.faults.fail("autoscaling", "LaunchInstances", "InvalidAction", times=9)
        cloud.fleet.grow("cpu", 1, "one more")
        clock.advance(600.0)
        world.aws.fleet.limit("m7i.large", f"{REGION}a", 0)
        for number in range(3):
            cloud.fleet.grow("cpu", 1, f"more than there are, {number}")
            clock.advance(60.0)
        with world.warm_pool():
            cloud.fleet.retire([each.machine_id for each in cloud.fleet.instances()])


def deployed(world: RolesWorld, cloud: Cloud) -> AppRecord:
    """Have an app with a schedule and a setting on a schedule that others call and serve."""
    front = world.front(cloud, "cl-deployer")
    spec = revision(
        "f", schedule=Cron("*/5 * * * *"),
        scaling=(ScaleAt("*/7 * * * *", max_containers=2),),
        autoscaler=AutoscalerSettings(min_containers=0),
    )  # fmt: skip
    app = front.apps.carry_out(DeployRequest("jobs", spec)).app
    function = cloud.catalog.functions(app.app_id)[0]
    front.apps.update_settings(function.function_id, {"buffer_containers": 0}, "ada")
    front.close()
    return app


# Parts of it


def _mail(world: RolesWorld, cloud: Cloud) -> None:
    """Use a mailbox."""
    address = cloud.wakeups.open()
    cloud.wakeups.listen(0)
    world.clock.advance(500.0)
    cloud.wakeups.tell(address, [Note("fc-1", (0,), (Status.RETURNED,), (b"r",))])
    cloud.wakeups.listen(1)
    world.clock.advance(60.0)  # notes are answered some seconds later
    cloud.wakeups.listen(0)


def _payloads(world: RolesWorld, cloud: Cloud, holder: str) -> None:
    """Store, fetch and delete payloads, one of which fails."""
    ref = BlobRef(f"{holder}/1", 70_000, durable=False)
    cloud.depot.store(ref, world.file("payload", 70_000))
    cloud.depot.fetch(ref, world.folder / holder / "fetched")
    large = BlobRef(f"{holder}/2", 40_000_000, durable=False)
    world.aws.faults.fail("s3", "UploadPart", "AccessDenied")
    _fails(lambda: cloud.depot.store(large, world.file("large", 40_000_000)))
    cloud.depot.delete([ref, large])


def _join(world: RolesWorld, cloud: Cloud, report: MachineReport) -> None:
    """Join, and speak with whoever plans."""
    machine_id, now = report.machine_id, world.clock.wall()
    cloud.ledger.repair(lambda holder: holder != machine_id, now)
    cloud.machines.join(report, now, 30.0)
    cloud.fleet.joined(machine_id)
    # In a group that does not protect its machines by itself.
    world.aws.client("autoscaling").set_instance_protection(
        AutoScalingGroupName=GROUP, InstanceIds=[machine_id], ProtectedFromScaleIn=False
    )
    cloud.fleet.joined(machine_id)
    cloud.machines.beat(report, now, 30.0)
    cloud.machines.orders(machine_id)
    cloud.machines.cancelled(machine_id, [(1, 1)])
    cloud.leadership.led(now)
    cloud.leadership.wake()


def _run(world: RolesWorld, cloud: Cloud, function_id: str, ref: BlobRef) -> BlobRef:
    """Hear of inputs, claim them and record what came of them; return a large result."""
    pool = f"{function_id}@1"
    for heard in cloud.doorbells.listen(function_id, 1, 10):
        cloud.ledger.hear(heard.ring)
        cloud.doorbells.answer([heard])
    cloud.depot.fetch(ref, world.folder / "input")
    claims = cloud.ledger.claim(pool, 4, world.clock.wall())
    assert len(claims) == 4
    result = BlobRef("bl-result/1", 40_000_000, durable=False)
    cloud.depot.store(result, world.file("large", 40_000_000))
    _settle(cloud, claims, result)
    cloud.doorbells.ring([Ring(function_id, pool, "")])
    cloud.streams.append("fc-served", 1, 0, [b"item"])
    return result


def _leave(world: RolesWorld, cloud: Cloud, report: MachineReport) -> None:
    """Drain, and be ended."""
    machine_id = report.machine_id
    cloud.machines.beat(replace(report, state=MachineState.EMPTY), world.clock.wall(), 30.0)
    world.aws.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=machine_id, ShouldDecrementDesiredCapacity=True
    )
    held = False
    for _ in range(600):
        world.clock.advance(1.0)
        held = held or cloud.fleet.hold(machine_id)
        if held:
            cloud.fleet.drained(machine_id)
    assert held
    cloud.machines.remove(machine_id)


def _bundle(world: RolesWorld, cloud: Cloud) -> None:
    """Store sources so large that they go in parts."""
    folder, content = world.folder / "sources", Random(1).randbytes(40_000_000)
    folder.mkdir(exist_ok=True)
    (folder / "jobs.py").write_bytes(content)
    hashes = {"jobs.py": (len(content), sha256(content).digest())}
    file = BundleFile("jobs.py", folder / "jobs.py", executable=False)
    world.digest = digest_of([file], hashes)
    cloud.depot.store_bundle(world.digest, folder)
    # A rollback builds images anew, from files that another laptop has stored.
    cloud.depot.fetch_bundle(world.digest, world.folder / "built-from")


def _submit(
    cloud: Cloud,
    function_id: str,
    call_id: str,
    number: int,
    kind: CallKind = CallKind.SPAWN_MAP,
    **more: Any,
) -> None:
    """Make a call, with inputs that fit into the ledger, and ring for it."""
    pool = f"{function_id}@1"
    spec = CallSpec(call_id, function_id, pool, kind, 1.0, durable=kind.durable, **more)
    admission = cloud.ledger.submit(spec, 0, [b"x" * 2_000] * number, sealed=True, now=1.0)
    assert not admission.refused
    cloud.doorbells.ring(cloud.ledger.rings())


def _settle(cloud: Cloud, claims: Sequence[Claim], result: BlobRef) -> None:
    """Record, try again and give back what a machine has claimed."""
    first, second, third, last = claims
    entries = [
        Entry(first.seq, first.fence, Status.RETURNED, result.encode()),
        Entry(second.seq, second.fence, Status.RAISED, b"e" * 3_000),
    ]
    assert all(cloud.ledger.record(entries))
    cloud.ledger.retry(third.seq, third.fence, Counters(), 0.0)
    cloud.ledger.give_back([(last.seq, last.fence)])
    cloud.ledger.reply_to(first.call_id)


def _stores(world: RolesWorld, cloud: Cloud, front: Front) -> None:
    """Use what programs share."""
    now = world.clock.wall()
    for kind, name in (
        (ObjectKind.DICT, "di-1"),
        (ObjectKind.QUEUE, "qu-1"),
        (ObjectKind.VOLUME, "vo-1"),
    ):
        cloud.objects.create(ObjectRecord(name, kind, name, now))
    cloud.dicts.put("di-1", [(b"k", b"v")] * 30, skip_existing=False, request="rq-1", now=now)
    cloud.dicts.get("di-1", [b"k"], now)
    cloud.dicts.scan("di-1", 0, 10, 10_000, now)
    cloud.queues.put("qu-1", "", [b"a" * 2_000, b"b"], request="rq-2", ttl=60.0, now=now)
    cloud.queues.peek("qu-1", "", 0, 2, 10_000, now)
    cloud.queues.take("qu-1", "", 1, 10_000, request="rq-3", now=now)
    cloud.queues.settle(["rq-3"], keep=True, now=now)
    cloud.streams.append("fc-s", 1, 0, [b"item"])
    cloud.streams.read("fc-s", 0)
    cloud.streams.acknowledge("fc-s", 1)
    cloud.streams.forget(["fc-s"])
    _commit(world, cloud, "vo-1", 20_000_000, "rq-4")
    (file,) = cloud.volumes.files("vo-1")
    cloud.volumes.content("vo-1", file.key)
    for name in ("di-1", "qu-1", "vo-1"):
        front.stores.registry.delete(name)


def _commit(world: RolesWorld, cloud: Cloud, volume_id: str, size: int, request: str) -> None:
    source = cloud.volumes.stage(volume_id) / request
    source.write_bytes(b"v" * size)
    puts = [StagedFile("a", source, 5, 0o640)]
    cloud.volumes.commit(volume_id, puts, [], request=request, now=world.clock.wall())


def _ephemeral(world: RolesWorld, cloud: Cloud) -> tuple[str, ...]:
    """Leave objects behind that end with their client, and a volume with an old content."""
    now = world.clock.wall()
    cloud.objects.create(ObjectRecord("di-9", ObjectKind.DICT, "", now))
    cloud.objects.create(ObjectRecord("vo-9", ObjectKind.VOLUME, "", now))
    cloud.objects.create(ObjectRecord("vo-8", ObjectKind.VOLUME, "kept", now))
    cloud.dicts.put("di-9", [(b"k", b"v")], skip_existing=False, request="rq-5", now=now)
    big = BlobRef("bl-value/1", 70_000, durable=True)
    cloud.depot.store(big, world.file("payload", 70_000))
    cloud.dicts.put("di-9", [(b"l", big.encode())], skip_existing=False, request="rq-6", now=now)
    _commit(world, cloud, "vo-9", 100, "rq-7")
    # A list of files that is so long that it lies in S3.
    noise, empty = Random(2), cloud.volumes.stage("vo-8") / "empty"
    empty.touch()
    paths = [noise.randbytes(100).hex() for _ in range(4_000)]
    puts = [StagedFile(path, empty, 5, 0o640) for path in paths]
    cloud.volumes.commit("vo-8", puts, [], request="rq-8", now=now)
    _commit(world, cloud, "vo-8", 100, "rq-9")
    _commit(world, cloud, "vo-8", 200, "rq-10")
    return "di-9", "vo-9"


def _queue(world: RolesWorld, cloud: Cloud, app: AppRecord) -> str:
    """Return the URL of the queue of an app's first function."""
    function = cloud.catalog.functions(app.app_id)[0]
    told = world.aws.client("sqs").get_queue_url(QueueName=f"cloudfn-main-{function.function_id}")
    return str(told["QueueUrl"])


def _ring_in_vain(world: RolesWorld, function_id: str) -> None:
    """Have rings become dead: somebody takes them, and never answers."""
    with world.role("agent", "i-deaf") as cloud:
        for _ in range(2):
            cloud.doorbells.listen(function_id, 1, 10)
            world.clock.advance(40.0)


def _quiet(_line: str) -> None:
    """Hear of no progress."""


def _fails(action: Callable[[], object]) -> None:
    with suppress(Error):
        action()
        raise AssertionError("it did not fail")
