"""What call graphs remember of calls that the ledger has let go."""

from cloudfn.control.calls.directory import PastCall
from cloudfn.daemon.past import PastCalls
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import CallSpec


def past(call_id: str, parent: str, inputs: int = 1) -> PastCall:
    spec = CallSpec(call_id, "fu-1", "fu-1@1", CallKind.REMOTE, 0.0, (parent, 0), durable=False)
    return PastCall(spec, [Status.RETURNED] * inputs)


def test_the_children_of_a_call_are_remembered_in_order() -> None:
    calls = PastCalls()
    first, second, other = past("a", "p"), past("b", "p"), past("c", "q")
    for each in (first, second, other):
        calls.add(each)
    assert calls.children("p") == [first, second]
    assert calls.children("q") == [other]
    assert calls.children("unknown") == []


def test_the_oldest_are_forgotten_when_there_are_too_many_inputs() -> None:
    calls = PastCalls(most=5)
    for each in (past("a", "p", 2), past("b", "q", 2), past("c", "p", 2)):
        calls.add(each)
    assert [each.spec.call_id for each in calls.children("p")] == ["c"]
    assert [each.spec.call_id for each in calls.children("q")] == ["b"]


def test_a_call_too_big_to_remember_is_forgotten_with_all_before_it() -> None:
    calls = PastCalls(most=5)
    calls.add(past("a", "p"))
    calls.add(past("b", "p", 6))
    assert calls.children("p") == []
    calls.add(past("c", "p", 5))
    assert len(calls.children("p")) == 1
