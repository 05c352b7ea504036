"""What DynamoDB does to its users, one nastiness at a time."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from cloudfn.testing.aws import DynamoKnobs, FakeAws, Knobs

KEY = {"pk": {"S": "a"}}


def table(seed=0, **nasty):
    """Return (account, client) with a table that has these knobs alone."""
    aws = FakeAws(knobs=Knobs(dynamodb=replace(DynamoKnobs.calm(), **nasty)), seed=seed)
    return aws, open_table(aws)


def open_table(aws):
    dynamodb = aws.client("dynamodb")
    dynamodb.create_table(
        TableName="table",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )
    return dynamodb


def put(dynamodb, name="a", **attributes):
    dynamodb.put_item(TableName="table", Item={"pk": {"S": name}, **attributes})


def get(dynamodb, **params):
    return dynamodb.get_item(TableName="table", Key=KEY, **params).get("Item")


def add(dynamodb, amount=1):
    dynamodb.update_item(
        TableName="table",
        Key=KEY,
        UpdateExpression="ADD n :n",
        ExpressionAttributeValues={":n": {"N": str(amount)}},
    )


def test_a_read_may_return_the_past_for_a_second_unless_it_is_consistent():
    aws, dynamodb = table(reads_lag=1.0, stale=1.0)
    put(dynamodb, n={"N": "1"})
    aws.clock.advance(10)
    put(dynamodb, n={"N": "2"})

    assert get(dynamodb)["n"] == {"N": "1"}
    assert get(dynamodb, ConsistentRead=True)["n"] == {"N": "2"}
    assert dynamodb.scan(TableName="table")["Items"][0]["n"] == {"N": "1"}
    aws.clock.advance(1.001)
    assert get(dynamodb)["n"] == {"N": "2"}


def test_an_item_that_was_just_put_may_not_be_there_yet():
    _, dynamodb = table(reads_lag=1.0, stale=1.0)
    put(dynamodb)

    assert get(dynamodb) is None


def test_conditions_see_the_truth_whatever_reads_see():
    _, dynamodb = table(reads_lag=60.0, stale=1.0)
    put(dynamodb)

    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.put_item(
            TableName="table", Item=KEY, ConditionExpression="attribute_not_exists(pk)"
        )


def test_a_transaction_may_meet_another_one_and_does_nothing_then():
    aws, dynamodb = table(conflicts=1.0)
    parts = [{"Put": {"TableName": "table", "Item": KEY}}]
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as found:
        dynamodb.transact_write_items(TransactItems=parts)

    assert found.value.response["CancellationReasons"][0]["Code"] == "TransactionConflict"
    assert aws.dynamodb.truth("table") == []


def test_a_write_right_after_a_transaction_may_meet_it():
    aws, dynamodb = table(conflicts=0.5)
    put_in_transaction = {"TransactItems": [{"Put": {"TableName": "table", "Item": KEY}}]}

    def met():
        try:
            add(dynamodb, 0)
        except dynamodb.exceptions.TransactionConflictException:
            return True
        return False

    assert not any(met() for _ in range(20))
    while True:
        try:
            dynamodb.transact_write_items(**put_in_transaction)
        except dynamodb.exceptions.TransactionCanceledException:
            continue
        break
    assert {met() for _ in range(20)} == {True, False}
    aws.clock.advance(1)
    assert not any(met() for _ in range(20))


def test_a_token_makes_a_repeated_transaction_harmless_for_ten_minutes():
    aws, dynamodb = table()
    update = {
        "TableName": "table",
        "Key": KEY,
        "UpdateExpression": "ADD n :n",
        "ExpressionAttributeValues": {":n": {"N": "1"}},
    }
    call = {"TransactItems": [{"Update": update}], "ClientRequestToken": "token"}
    for wait in (0, 599, 1):
        aws.clock.advance(wait)
        dynamodb.transact_write_items(**call)
    assert get(dynamodb)["n"] == {"N": "2"}

    other = {"TransactItems": [{"Delete": {"TableName": "table", "Key": KEY}}]}
    with pytest.raises(dynamodb.exceptions.IdempotentParameterMismatchException):
        dynamodb.transact_write_items(**other, ClientRequestToken="token")


def test_an_update_that_makes_no_sense_cancels_the_whole_transaction():
    aws, dynamodb = table()
    put(dynamodb, n={"S": "no number"})
    update = {
        "TableName": "table",
        "Key": KEY,
        "UpdateExpression": "ADD n :n",
        "ExpressionAttributeValues": {":n": {"N": "1"}},
    }
    other = {"Put": {"TableName": "table", "Item": {"pk": {"S": "b"}}}}
    with pytest.raises(ClientError) as found:
        dynamodb.transact_write_items(TransactItems=[other, {"Update": update}])

    assert [each["Code"] for each in found.value.response["CancellationReasons"]] == [
        "None",
        "ValidationError",
    ]
    assert len(aws.dynamodb.truth("table")) == 1


def test_a_batch_may_be_written_and_read_in_part_only():
    aws, dynamodb = table(unprocessed=0.5)
    puts = [{"PutRequest": {"Item": {"pk": {"S": str(n)}}}} for n in range(25)]
    left = dynamodb.batch_write_item(RequestItems={"table": puts})["UnprocessedItems"]["table"]
    assert 0 < len(left) < 25
    assert len(aws.dynamodb.truth("table")) + len(left) == 25

    while left:
        answer = dynamodb.batch_write_item(RequestItems={"table": left})
        left = answer["UnprocessedItems"].get("table")
    asked = {"table": {"Keys": [put["PutRequest"]["Item"] for put in puts]}}
    answer = dynamodb.batch_get_item(RequestItems=asked)
    undone = answer["UnprocessedKeys"]["table"]["Keys"]
    assert 0 < len(undone) < 25
    assert len(answer["Responses"]["table"]) + len(undone) == 25


@pytest.mark.parametrize(
    ("names", "words"), [(["a", "a"], "duplicates"), (list("abcdefghijklmnopqrstuvwxyz"), "25")]
)
def test_a_batch_of_writes_has_up_to_25_keys_and_none_twice(names, words):
    _, dynamodb = table()
    puts = [{"PutRequest": {"Item": {"pk": {"S": name}}}} for name in names]

    with pytest.raises(ClientError, match=words):
        dynamodb.batch_write_item(RequestItems={"table": puts})


def test_a_page_ends_at_a_megabyte():
    _, dynamodb = table()
    for n in range(5):
        put(dynamodb, str(n), text={"S": "x" * 300_000})
    first = dynamodb.scan(TableName="table")

    assert first["Count"] == 4
    assert "LastEvaluatedKey" in first
    last = dynamodb.scan(TableName="table", ExclusiveStartKey=first["LastEvaluatedKey"])
    assert last["Count"] == 1
    assert "LastEvaluatedKey" not in last


def test_pages_of_one_item_still_lead_through_all():
    _, dynamodb = table(page=1)
    for n in range(5):
        put(dynamodb, str(n))
    pages = list(dynamodb.get_paginator("scan").paginate(TableName="table"))

    assert [page["Count"] for page in pages] == [1, 1, 1, 1, 1]


def test_one_partition_takes_a_thousand_writes_a_second_and_others_are_not_touched():
    aws, dynamodb = table(partition_writes=10.0)
    for _ in range(10):
        add(dynamodb)
    with pytest.raises(dynamodb.exceptions.ThrottlingException):
        add(dynamodb)
    put(dynamodb, "other")
    aws.clock.advance(0.5)
    for _ in range(5):
        add(dynamodb)

    assert get(dynamodb)["n"] == {"N": "15"}


def test_an_expired_item_is_there_until_it_is_deleted_late():
    aws, dynamodb = table(expiry_lag=3600.0)
    dynamodb.update_time_to_live(
        TableName="table", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    now = int(aws.clock.wall())
    put(dynamodb, until={"N": str(now + 100)})
    put(dynamodb, "text", until={"S": str(now + 100)})
    put(dynamodb, "old", until={"N": str(now - 6 * 365 * 86_400)})
    aws.clock.advance(101)
    assert get(dynamodb) is not None
    aws.clock.advance(3600)

    assert {item["pk"]["S"] for item in aws.dynamodb.truth("table")} == {"text", "old"}


def test_an_item_whose_expiry_was_moved_stays():
    aws, dynamodb = table()
    dynamodb.update_time_to_live(
        TableName="table", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    now = int(aws.clock.wall())
    put(dynamodb, until={"N": str(now + 100)})
    put(dynamodb, until={"N": str(now + 1000)})
    aws.clock.advance(500)
    assert get(dynamodb) is not None
    aws.clock.advance(501)
    assert get(dynamodb) is None


def test_a_lost_answer_leaves_the_write_done():
    aws, dynamodb = table()
    aws.faults.lose_answer("dynamodb", "UpdateItem")
    with pytest.raises(ReadTimeoutError):
        add(dynamodb)

    assert get(dynamodb)["n"] == {"N": "1"}


def test_capacity_is_told_if_asked():
    _, dynamodb = table()
    big = {"pk": {"S": "a"}, "text": {"S": "x" * 3000}}
    written = dynamodb.put_item(TableName="table", Item=big, ReturnConsumedCapacity="TOTAL")
    read = dynamodb.get_item(TableName="table", Key=KEY, ReturnConsumedCapacity="TOTAL")

    assert written["ConsumedCapacity"]["CapacityUnits"] == 3.0
    assert read["ConsumedCapacity"]["CapacityUnits"] == 0.5


@pytest.mark.parametrize(
    "params",
    [
        {"ConditionExpression": "n = :n"},
        {"ConditionExpression": "attribute_exists(pk) AND"},
        {"ConditionExpression": "attribute_exists(pk"},
        {"ConditionExpression": "state = :n", "ExpressionAttributeValues": {":n": {"N": "1"}}},
        {"ConditionExpression": "n ? :n"},
        {"ExpressionAttributeValues": {":n": {"N": "1"}}},
        {"ConditionExpression": ""},
        {"ConditionExpression": "size(pk)"},
        {
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeNames": {"#n": "n"},
        },
        {
            "ConditionExpression": "n = :n",
            "ExpressionAttributeValues": {":n": {"N": "1", "S": "1"}},
        },
        {"ConditionExpression": "n = :n", "ExpressionAttributeValues": {":n": {"N": "one"}}},
    ],
)
def test_an_expression_that_makes_no_sense_is_refused(params):
    _, dynamodb = table()

    with pytest.raises(ClientError, match="ValidationException"):
        dynamodb.put_item(TableName="table", Item=KEY, **params)


@pytest.mark.parametrize("text", ["n < :s", "size(nothing) < :s", "#n > :s"])
def test_values_without_an_order_between_them_compare_as_false(text):
    _, dynamodb = table()
    put(dynamodb, n={"N": "1"})
    names = {"ExpressionAttributeNames": {"#n": "none"}} if "#n" in text else {}

    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.put_item(
            TableName="table",
            Item=KEY,
            ConditionExpression=text,
            ExpressionAttributeValues={":s": {"S": "a"}},
            **names,
        )


def test_numbers_keep_38_digits_and_no_more():
    _, dynamodb = table()
    put(dynamodb, n={"N": "1" * 38})
    add(dynamodb)
    assert get(dynamodb)["n"] == {"N": "1" * 37 + "2"}

    with pytest.raises(ClientError, match="38"):
        put(dynamodb, n={"N": "1" * 39})


def test_an_item_has_400_kb_with_its_names_to_the_byte():
    _, dynamodb = table()
    room = 400 * 1024 - len("pk") - len("a") - len("text")
    put(dynamodb, text={"S": "x" * room})

    with pytest.raises(ClientError, match="Item size"):
        put(dynamodb, text={"S": "x" * (room + 1)})


def test_threads_lose_no_update():
    _, dynamodb = table()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: add(dynamodb), range(400)))

    assert get(dynamodb)["n"] == {"N": "400"}


class OneWriterAtATime(RuleBasedStateMachine):
    """Compare-and-set by several writers, through throttling, conflicts and lost answers.

    A write that was answered happened; one that was refused did not; of one without an answer a
    consistent read says whether it did. The chain of values has neither gaps nor forks.
    """

    @initialize(seed=st.integers(0, 10_000))
    def open(self, seed):
        knobs = replace(DynamoKnobs(), conflicts=0.2, partition_writes=5.0)
        self.aws = FakeAws(knobs=Knobs(dynamodb=knobs), seed=seed)
        self.clients = [open_table(self.aws), *(self.aws.client("dynamodb") for _ in range(2))]
        put(self.clients[0], n={"N": "0"}, by={"S": "-"})
        self.known = [0, 0, 0]
        self.chain = ["-"]

    def truth(self):
        [item] = self.aws.dynamodb.truth("table")
        return int(item["n"]["N"]), item["by"]["S"]

    @rule(who=st.integers(0, 2), consistent=st.booleans())
    def read(self, who, consistent):
        try:
            item = get(self.clients[who], ConsistentRead=consistent)
        except ClientError:
            return
        if item is None:
            assert not consistent
            return
        n, by = int(item["n"]["N"]), item["by"]["S"]
        assert self.chain[n] == by
        assert n == len(self.chain) - 1 or not consistent
        self.known[who] = n

    @rule(who=st.integers(0, 2), lost=st.booleans(), transact=st.booleans())
    def write(self, who, lost, transact):
        n, mark = self.known[who], f"{who}.{len(self.chain)}"
        update = {
            "TableName": "table",
            "Key": KEY,
            "UpdateExpression": "SET n = n + :one, #by = :by",
            "ConditionExpression": "n = :n",
            "ExpressionAttributeNames": {"#by": "by"},
            "ExpressionAttributeValues": {
                ":one": {"N": "1"},
                ":n": {"N": str(n)},
                ":by": {"S": mark},
            },
        }
        operation = "TransactWriteItems" if transact else "UpdateItem"
        if lost:
            self.aws.faults.lose_answer("dynamodb", operation)
        client = self.clients[who]
        try:
            if transact:
                client.transact_write_items(TransactItems=[{"Update": update}])
            else:
                client.update_item(**update)
            happened = True
        except ReadTimeoutError:
            happened = self.truth() == (n + 1, mark)
        except ClientError:
            happened = False
        finally:
            self.aws.faults.heal()
        if happened:
            assert n == len(self.chain) - 1, "it wrote on top of something that it had not seen"
            self.chain.append(mark)
            self.known[who] = n + 1
        assert self.truth() == (len(self.chain) - 1, self.chain[-1])

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds):
        self.aws.clock.advance(seconds)


TestOneWriterAtATime = OneWriterAtATime.TestCase
TestOneWriterAtATime.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
