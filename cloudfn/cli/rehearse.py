"""`cloudfn rehearse`: up, status, env, requests, spot, kill, fault, limit, down.

The rehearsal is a program of its own (`python -m cloudfn.rehearsal`): started by command line, and
asked over its socket.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudfn import errors
from cloudfn.cli import moments, terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, command_group
from cloudfn.cli.session import Session, session_of

MachineArgument = Annotated[str, typer.Argument(metavar="MACHINE", help="As `status` names it.")]

#: of the rehearsal, beside the environments: no environment can be called so
_HOME = "@rehearsal"
#: seconds to answer an order; `kill` waits until the machine is dead
_PATIENCE = 30.0
#: as the variables of their endpoints name them
_SERVICES = (
    "AUTO_SCALING",
    "DYNAMODB",
    "EC2",
    "ECR",
    "EVENTBRIDGE",
    "IAM",
    "LAMBDA",
    "CLOUDWATCH_LOGS",
    "S3",
    "SCHEDULER",
    "SQS",
    "SSM",
    "STS",
)
#: what else boto3 or cloudfn would listen to
_UNSET = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "CLOUDFN_REGION",
    *(f"AWS_ENDPOINT_URL_{service}" for service in _SERVICES),
)


def build() -> typer.Typer:
    """Return the command group."""
    app = command_group(
        "Try everything on an emulated AWS on this machine: no account, no bill. Needs root."
    )
    app.command("up")(up)
    app.command("status")(status)
    app.command("env")(show_env)
    app.command("requests")(requests)
    app.command("spot")(spot)
    app.command("kill")(kill)
    app.command("fault")(fault)
    app.command("limit")(limit)
    app.command("down")(down)
    return app


def up(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of everything.")] = 4566,
    region: Annotated[str, typer.Option(metavar="NAME", help="What it is called.")] = (
        "eu-central-1"
    ),
    boot_delay: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="From a launch to a machine.")
    ] = 5.0,
    machines: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="At most, of each class.")
    ] = 4,
    module: Annotated[
        str | None, typer.Option(metavar="NAME", help="What machines run instead of the agent.")
    ] = None,
    handler: Annotated[
        str | None, typer.Option(metavar="NAME", help="What Lambda calls instead of the planner.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="ZIP", exists=True, help="What machines fetch, instead of this cloudfn."
        ),
    ] = None,
    virtual: Annotated[
        Path | None,
        typer.Option(
            metavar="PROGRAM", exists=True, help="What is a machine, instead of processes."
        ),
    ] = None,
    auth: Annotated[bool, typer.Option("--auth", help="Enforce roles and policies.")] = False,
    env: EnvironmentOption = None,
) -> None:
    """Start it, with an environment in it; it goes on until `cloudfn rehearse down`."""
    session = session_of(context, env)
    home = _home(session)
    types = {"cpu": (["m7i.large"], "on-demand"), "spot": (["m7i.large", "m6i.large"], "spot")}
    wanted = {
        "environment": session.settings.environment,
        "region": region,
        "port": port,
        "boot_delay": boot_delay,
        "auth": auth,
        "bundle": bundle and str(bundle.absolute()),
        "module": module,
        "handler": handler,
        "virtual": virtual and str(virtual.absolute()),
        "classes": {
            name: {"instance_types": each, "purchase": purchase, "max_machines": machines}
            for name, (each, purchase) in types.items()
        },
    }
    try:
        _run_program("up", home, json.dumps(wanted))
    except KeyboardInterrupt:
        terminal.say("Interrupted; removing what is there already.")
        _run_program("down", home)
        raise
    terminal.say("✓ It runs. Lead this shell there:")
    print('eval "$(cloudfn rehearse env)"')


def status(
    context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
) -> None:
    """Say what runs: parts, groups, machines; exit code 1 where nothing does."""
    session = session_of(context, env)
    try:
        told = _ask(session, op="status")
    except errors.ConnectionError as error:
        if as_json:
            terminal.print_json({"running": False})
        else:
            terminal.say(error.message)
        raise typer.Exit(1) from None
    if as_json:
        terminal.print_json({"running": True, **told})
        return
    now = session.host.clock.wall()
    parts = ", ".join(
        f"{name}{'' if lives else ' (dead)'}" for name, lives in told["parts"].items()
    )
    rows = [
        ("url", told["url"]),
        ("environment", f"{told['environment']} in {told['region']}"),
        ("started", moments.ago(now - told["uptime"], now)),
        ("parts", parts),
        ("home", told["home"]),
    ]
    rows += [
        (name, f"{each['instances']} of {each['desired']} wanted, at most {each['max']}")
        for name, each in told["groups"].items()
    ]
    terminal.print_table(("FACT", "VALUE"), rows, empty="")
    print()
    terminal.print_table(
        ("MACHINE", "STATE", "TYPE", "ADDRESS", "STARTED", "AGENT HEARD"),
        [
            (
                each["machine"],
                each["state"],
                f"{each['type']}{' spot' if each['spot'] else ''}",
                each["address"],
                moments.ago(each["started"], now),
                moments.ago(each["heard"], now) if each["heard"] else "not yet",
            )
            for each in told["machines"]
        ],
        empty="There are no machines; the planner starts them when there is work."
        if told["groups"]
        else "Its environment was destroyed; `cloudfn rehearse down` ends the rest.",
    )


def show_env(context: typer.Context, as_json: JsonOption = False) -> None:
    """Print what leads a shell, and boto3 in it, to the rehearsal."""
    session = session_of(context, None)
    file = _home(session) / "environ.json"
    try:
        variables: dict[str, str] = json.loads(file.read_text())
    except OSError:
        raise _not_there() from None
    if as_json:
        terminal.print_json(variables)
        return
    print(f"unset {' '.join(_UNSET)}")
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def requests(
    context: typer.Context,
    since: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Only of the last so many seconds."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say who asked AWS for what how often, and how long the emulators took; --json: each one."""
    told = _ask(session_of(context, None), op="requests", seconds=since, each=as_json)
    if as_json:
        terminal.print_json(told["requests"])
        return
    terminal.print_table(
        ("WHO", "SERVICE", "ACTION", "REQUESTS", "FAILED", "IN EMULATORS", "EACH"),
        [
            (
                each["caller"],
                each["service"],
                each["action"],
                str(each["number"]),
                str(each["failed"]),
                f"{each['emulator']:.1f} s",
                f"{1_000 * each['emulator'] / each['number']:.0f} ms",
            )
            for each in told["kinds"]
        ],
        empty="Nothing was asked for.",
    )


def spot(
    context: typer.Context,
    machine: MachineArgument,
    seconds: Annotated[
        float, typer.Option(min=0, help="From the notice to the end; AWS gives 120.")
    ] = 120.0,
    rebalance: Annotated[
        bool, typer.Option("--rebalance", help="Only recommend to replace it.")
    ] = False,
) -> None:
    """Have EC2 take a machine back: a notice now, its end two minutes later."""
    session = session_of(context, None)
    if rebalance:
        _ask(session, op="rebalance", machine=machine)
        terminal.say(f"✓ EC2 recommends to replace {machine}.")
    else:
        _ask(session, op="spot", machine=machine, seconds=seconds)
        terminal.say(f"✓ {machine} has its notice; it ends in {seconds:.0f} s.")


def kill(
    context: typer.Context,
    victim: Annotated[
        str, typer.Argument(metavar="MACHINE", help="As `status` names it; or `planner`.")
    ],
    part: Annotated[
        str,
        typer.Option("--what", metavar="machine|agent|containers", help="Of the machine."),
    ] = "machine",
    as_json: JsonOption = False,
) -> None:
    """Kill -9: a machine, as if its power failed; its agent alone, all its containers; the planner.

    Nobody is told. An agent is started again on its machine, as systemd does; the planner's
    function is invoked again within a minute, or when there is work.
    """
    if part not in ("machine", "agent", "containers"):
        raise typer.BadParameter(f"{part!r} is none of machine, agent, containers.")
    if victim == "planner" and part != "machine":
        raise typer.BadParameter("The planner is no machine: it has no --what.")
    told = _ask(session_of(context, None), op="kill", machine=victim, part=part)
    if as_json:
        terminal.print_json({"victim": victim, "what": part, "processes": told["killed"]})
    elif victim == "planner":
        terminal.say("✓ The planner is dead.")
    elif part == "machine":
        terminal.say(f"✓ {victim} is dead.")
    else:
        terminal.say(f"✓ Killed on {victim}: {part}.")


def fault(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="Such as sqs, dynamodb, s3; * for all.")],
    kind: Annotated[str, typer.Argument(metavar="throttle|fail|delay|lose")],
    seconds: Annotated[float, typer.Argument(min=0, help="For how long.")],
    delay: Annotated[float, typer.Option(min=0, help="Seconds, for delay.")] = 1.0,
) -> None:
    """Disturb a service for a while: refuse, break, delay, or do and lose the answer."""
    if kind not in ("throttle", "fail", "delay", "lose"):
        raise typer.BadParameter(f"{kind!r} is none of throttle, fail, delay, lose.")
    session = session_of(context, None)
    _ask(session, op="fault", service=service, kind=kind, seconds=seconds, delay=delay)
    terminal.say(f"✓ {service}: {kind} for {seconds:g} s.")


def limit(
    context: typer.Context,
    instance_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as m7i.large.")],
    number: Annotated[
        int | None, typer.Argument(min=0, help="How many more; without it, any number again.")
    ] = None,
) -> None:
    """Let EC2 run out of a type of machines."""
    _ask(session_of(context, None), op="limit", type=instance_type, number=number)
    many = "any number" if number is None else number
    terminal.say(f"✓ EC2 has {many} of {instance_type} left.")


def down(context: typer.Context) -> None:
    """End it, and remove everything of it."""
    _run_program("down", _home(session_of(context, None)))
    terminal.say("✓ Nothing of the rehearsal is left.")


def _home(session: Session) -> Path:
    return session.settings.root / _HOME


def _run_program(*words: str | Path) -> None:
    """Run a program of the rehearsal, and show its steps, until it is there or has ended.

    Raises:
        ExecutionError: It fails; the message says why.
    """
    command = [sys.executable, "-m", "cloudfn.rehearsal", *map(str, words)]
    # A session of its own: Ctrl-C is this command's to deal with.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        told: dict[str, Any] = json.loads(line)
        if told["step"] == "failed":
            raise errors.ExecutionError(told["text"], hint=told.get("hint"))
        if told["step"] in ("ready", "down"):
            return
        terminal.say(f"  {told['step']}: {told['text']}")
    raise errors.ExecutionError(f"The rehearsal ended without a word: {process.wait()}.")


def _ask(session: Session, **order: Any) -> dict[str, Any]:
    """Give an order to the rehearsal; return its answer.

    Raises:
        ConnectionError: None runs.
        InvalidError: It refuses.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(str(_home(session) / "control.sock"))
            connection.sendall(json.dumps(order).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
        except (OSError, ValueError):
            raise _not_there() from None
    if "error" in answer:
        raise errors.InvalidError(answer["error"], hint=answer["hint"])
    return answer


def _not_there() -> errors.ConnectionError:
    return errors.ConnectionError(
        "No rehearsal runs.", hint="Start one with `cloudfn rehearse up`."
    )
