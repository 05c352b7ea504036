"""How a pool counts starts that failed and starts that somebody else ended."""

from cloudfn.agent.pool import START_TRIES, Pool, PoolSpec
from cloudfn.agent.zygotes import Program, Runtime
from cloudfn.model.call import LOSS_CAP
from cloudfn.model.function import AutoscalerSettings, FunctionSpec

PROGRAM = Program(Runtime("python3", ()), "/bundle", "program", ())
SPEC = PoolSpec("fu-1@1", "ap-1", "fu-1", 1, FunctionSpec("f", "program", "f"), PROGRAM)


def a_pool() -> Pool:
    return Pool(SPEC, AutoscalerSettings())


def test_starts_that_fail_are_given_up_soon():
    pool = a_pool()

    assert [pool.start_failed(float(n)) for n in range(START_TRIES)] == [False, False, True]


def test_starts_that_somebody_else_ends_are_given_up_late():
    pool = a_pool()

    verdicts = [pool.start_lost(pool.blocked_until, counted=True) for _ in range(LOSS_CAP)]

    assert verdicts == [False] * (LOSS_CAP - 1) + [True]


def test_containers_that_are_lost_together_are_one_loss():
    pool = a_pool()

    assert not any(pool.start_lost(7.0, counted=True) for _ in range(2 * LOSS_CAP))
    assert pool.lost_starts == 1
    assert pool.blocked_until > 7.0


def test_a_place_that_does_not_answer_is_waited_for():
    pool = a_pool()

    assert not any(pool.start_lost(pool.blocked_until, counted=False) for _ in range(2 * LOSS_CAP))
    assert pool.blocked_until > 0.0


def test_one_that_starts_resets_both_counts():
    pool = a_pool()
    pool.start_failed(1.0)
    pool.start_lost(10.0, counted=True)

    pool.started(0.1)

    assert (pool.failed_starts, pool.lost_starts, pool.blocked_until) == (0, 0, 0.0)
