"""What the fake DynamoDB and moto agree on."""

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ITEM = {
    "pk": {"S": "a"},
    "sk": {"N": "1"},
    "n": {"N": "5"},
    "text": {"S": "hello"},
    "tags": {"SS": ["x", "y"]},
    "list": {"L": [{"N": "1"}, {"S": "two"}, {"N": "3"}]},
    "map": {"M": {"in": {"M": {"deep": {"N": "7"}}}}},
    "yes": {"BOOL": True},
    "none": {"NULL": True},
    "raw": {"B": b"abc"},
}
KEY = {"pk": {"S": "a"}, "sk": {"N": "1"}}


@pytest.fixture
def dynamodb(account):
    client = account.client("dynamodb")
    client.create_table(
        TableName="table",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "N"},
            {"AttributeName": "text", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-text",
                "KeySchema": [{"AttributeName": "text", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    client.put_item(TableName="table", Item=ITEM)
    return client


def error(call, **params):
    with pytest.raises(ClientError) as found:
        call(**params)
    return found.value.response


def code(call, **params):
    return error(call, **params)["Error"]["Code"]


VALUES = {":n": {"N": "5"}, ":s": {"S": "hello"}, ":x": {"S": "x"}, ":h": {"S": "he"}}
CONDITIONS = [
    ("attribute_exists(pk)", True),
    ("attribute_exists(nothing)", False),
    ("attribute_not_exists(nothing)", True),
    ("attribute_not_exists(#m.#in.deep)", False),
    ("attribute_exists(#l[2])", True),
    ("attribute_exists(#l[3])", False),
    ("n = :n", True),
    ("n <> :n", False),
    ("nothing = :n", False),
    ("nothing <> :n", True),
    ("n <= :n AND n >= :n", True),
    ("n < :n OR n > :n", False),
    ("NOT n < :n", True),
    ("n = :s", False),
    ("#t BETWEEN :h AND :s", True),
    ("n IN (:s, :n)", True),
    ("n IN (:s, :x)", False),
    ("begins_with(#t, :h)", True),
    ("begins_with(#t, :x)", False),
    ("contains(#t, :h)", True),
    ("contains(tags, :x)", True),
    ("contains(tags, :s)", False),
    ("contains(#l, :n)", False),
    ("size(#t) = :n", True),
    ("size(tags) < :n", True),
    ("n = :n AND NOT (#t = :x OR #t = :h)", True),
    ("n = :n OR n = :n AND n = :x", True),
    ("(n = :n OR n = :n) AND n = :x", False),
    ("#l[0] < :n", True),
]
NAMES = {"#t": "text", "#l": "list", "#m": "map", "#in": "in"}


@pytest.mark.parametrize(("text", "expected"), CONDITIONS)
def test_a_condition_holds_or_not(dynamodb, text, expected):
    params = {
        "ExpressionAttributeValues": {k: v for k, v in VALUES.items() if k in text},
        "ExpressionAttributeNames": {k: v for k, v in NAMES.items() if k in text},
    }
    params = {name: value for name, value in params.items() if value}
    put = {"TableName": "table", "Item": ITEM, "ConditionExpression": text, **params}

    if expected:
        dynamodb.put_item(**put)
    else:
        assert code(dynamodb.put_item, **put) == "ConditionalCheckFailedException"


UPDATES = [
    ("SET n = n + :one", {"n": {"N": "6"}}),
    ("SET n = n - :one, m = :s", {"n": {"N": "4"}, "m": {"S": "s"}}),
    ("SET m = if_not_exists(m, :one)", {"m": {"N": "1"}}),
    ("SET n = if_not_exists(n, :one)", {}),
    ("SET n = if_not_exists(n, :one) + :one", {"n": {"N": "6"}}),
    ("SET n = m, m = n", None),
    ("SET #l = list_append(#l, :l)", {"list": {"L": [*ITEM["list"]["L"], {"S": "z"}]}}),
    ("SET #l[1] = :one", {"list": {"L": [{"N": "1"}, {"N": "1"}, {"N": "3"}]}}),
    ("SET #l[9] = :one", {"list": {"L": [*ITEM["list"]["L"], {"N": "1"}]}}),
    ("SET #m.#in.deep = :one", {"map": {"M": {"in": {"M": {"deep": {"N": "1"}}}}}}),
    ("SET nothing.deep = :one", None),
    ("REMOVE n, #l[0], #l[2]", {"n": None, "list": {"L": [{"S": "two"}]}}),
    ("REMOVE nothing", {}),
    ("ADD n :one", {"n": {"N": "6"}}),
    ("ADD m :one", {"m": {"N": "1"}}),
    ("ADD tags :tags", {"tags": {"SS": ["x", "y", "z"]}}),
    ("DELETE tags :tags", {"tags": {"SS": ["x"]}}),
    ("DELETE tags :all", {"tags": None}),
    ("ADD #t :one", None),
    ("SET pk = :s", None),
    ("SET n = :one, n = :s", None),
    ("SET n = :one SET m = :one", None),
    ("SET state = :s", None),
    ("SET n = :nothing", None),
    ("SET n", None),
    ("SET n = :one ADD m :one REMOVE #t", {"n": {"N": "1"}, "m": {"N": "1"}, "text": None}),
]
OPERANDS = {
    ":one": {"N": "1"},
    ":s": {"S": "s"},
    ":l": {"L": [{"S": "z"}]},
    ":tags": {"SS": ["y", "z"]},
    ":all": {"SS": ["x", "y"]},
}


def normal(item):
    """Let sets compare."""
    return {k: {"SS": sorted(v["SS"])} if "SS" in v else v for k, v in item.items()}


@pytest.mark.parametrize(("text", "changes"), UPDATES)
def test_an_update_changes_what_it_says_or_is_refused(dynamodb, text, changes):
    tokens = text.replace(",", " ").replace(")", " ").replace("(", " ").replace("[", " ")
    tokens = tokens.replace(".", " ").split()
    values = {k: v for k, v in OPERANDS.items() if k in tokens}
    names = {k: v for k, v in NAMES.items() if k in tokens}
    params = {"ExpressionAttributeValues": values} if values else {}
    params |= {"ExpressionAttributeNames": names} if names else {}
    call = {"TableName": "table", "Key": KEY, "UpdateExpression": text, **params}

    if changes is None:
        assert code(dynamodb.update_item, **call) == "ValidationException"
        return
    found = dynamodb.update_item(ReturnValues="ALL_NEW", **call)["Attributes"]
    wanted = {name: value for name, value in {**ITEM, **changes}.items() if value is not None}
    assert normal(found) == normal(wanted)


def test_an_update_makes_an_item_that_is_not_there(dynamodb):
    key = {"pk": {"S": "new"}, "sk": {"N": "1"}}
    dynamodb.update_item(
        TableName="table",
        Key=key,
        UpdateExpression="ADD n :n",
        ExpressionAttributeValues={":n": {"N": "2"}},
    )

    assert dynamodb.get_item(TableName="table", Key=key)["Item"] == {**key, "n": {"N": "2"}}


def test_a_refused_condition_shows_what_is_there_if_asked(dynamodb):
    params = {"TableName": "table", "Item": ITEM, "ConditionExpression": "attribute_not_exists(pk)"}
    told = error(dynamodb.put_item, ReturnValuesOnConditionCheckFailure="ALL_OLD", **params)

    assert normal(told["Item"]) == normal(ITEM)
    assert "Item" not in error(dynamodb.put_item, **params)


def test_return_values_are_of_before_and_after(dynamodb):
    call = {
        "TableName": "table",
        "Key": KEY,
        "UpdateExpression": "SET n = n + :n",
        "ExpressionAttributeValues": {":n": {"N": "1"}},
    }

    assert dynamodb.update_item(ReturnValues="UPDATED_OLD", **call)["Attributes"] == {
        "n": {"N": "5"}
    }
    assert dynamodb.update_item(ReturnValues="UPDATED_NEW", **call)["Attributes"] == {
        "n": {"N": "7"}
    }
    assert "Attributes" not in dynamodb.update_item(**call)
    assert dynamodb.delete_item(TableName="table", Key=KEY, ReturnValues="ALL_OLD")["Attributes"][
        "n"
    ] == {"N": "8"}
    assert "Item" not in dynamodb.get_item(TableName="table", Key=KEY)


def test_an_item_has_less_than_400_kb(dynamodb):
    item = {"pk": {"S": "big"}, "sk": {"N": "1"}, "big": {"S": "x" * 390 * 1024}}
    dynamodb.put_item(TableName="table", Item=item)
    item["big"] = {"S": "x" * 400 * 1024}

    assert code(dynamodb.put_item, TableName="table", Item=item) == "ValidationException"


def put_many(dynamodb, count):
    for n in range(count):
        dynamodb.put_item(TableName="table", Item={"pk": {"S": "many"}, "sk": {"N": str(n)}})


def numbers(answer):
    return [int(item["sk"]["N"]) for item in answer["Items"]]


RANGES = [
    ("pk = :p", {}, list(range(12))),
    ("pk = :p AND sk = :a", {":a": "3"}, [3]),
    ("pk = :p AND sk < :a", {":a": "3"}, [0, 1, 2]),
    ("sk >= :a AND pk = :p", {":a": "10"}, [10, 11]),
    ("pk = :p AND sk BETWEEN :a AND :b", {":a": "2", ":b": "4"}, [2, 3, 4]),
]


@pytest.mark.parametrize(("text", "values", "expected"), RANGES)
@pytest.mark.parametrize("forward", [True, False])
def test_a_query_returns_a_range_in_order(dynamodb, text, values, expected, forward):
    put_many(dynamodb, 12)
    answer = dynamodb.query(
        TableName="table",
        KeyConditionExpression=text,
        ExpressionAttributeValues={
            ":p": {"S": "many"},
            **{name: {"N": value} for name, value in values.items()},
        },
        ScanIndexForward=forward,
    )

    assert numbers(answer) == (expected if forward else expected[::-1])


def test_pages_of_a_query_follow_each_other_and_a_filter_leaves_items_out_of_full_pages(dynamodb):
    put_many(dynamodb, 7)
    pages = dynamodb.get_paginator("query").paginate(
        TableName="table",
        KeyConditionExpression="pk = :p",
        FilterExpression="#n <> :two",
        ExpressionAttributeNames={"#n": "none"},
        ExpressionAttributeValues={":p": {"S": "many"}, ":two": {"N": "2"}},
        PaginationConfig={"PageSize": 3},
    )
    found = list(pages)

    assert [page["ScannedCount"] for page in found][:2] == [3, 3]
    assert [n for page in found for n in numbers(page)] == list(range(7))


def test_a_scan_sees_every_item_once(dynamodb):
    put_many(dynamodb, 7)
    pages = dynamodb.get_paginator("scan").paginate(
        TableName="table", PaginationConfig={"PageSize": 2}, ProjectionExpression="sk"
    )
    found = [item for page in pages for item in page["Items"]]

    assert len(found) == 8
    assert all(set(item) == {"sk"} for item in found)


def test_an_index_finds_items_by_another_key(dynamodb):
    put_many(dynamodb, 2)
    answer = dynamodb.query(
        TableName="table",
        IndexName="by-text",
        KeyConditionExpression="#t = :t",
        ExpressionAttributeNames={"#t": "text"},
        ExpressionAttributeValues={":t": {"S": "hello"}},
    )

    assert [item["pk"] for item in answer["Items"]] == [{"S": "a"}]


def transact(*parts, **more):
    return {"TransactItems": list(parts), **more}


def put_of(sk, **more):
    item = {"pk": {"S": "x"}, "sk": {"N": str(sk)}}
    return {"Put": {"TableName": "table", "Item": item, **more}}


def test_a_transaction_does_all_or_nothing_and_says_why(dynamodb):
    absent = {"ConditionExpression": "attribute_not_exists(pk)"}
    check = {"TableName": "table", "Key": KEY, **absent}
    told = error(
        dynamodb.transact_write_items,
        **transact(put_of(1), {"ConditionCheck": check}, put_of(2)),
    )

    assert told["Error"]["Code"] == "TransactionCanceledException"
    assert [each["Code"] for each in told["CancellationReasons"]] == [
        "None",
        "ConditionalCheckFailed",
        "None",
    ]
    dynamodb.transact_write_items(**transact(put_of(1), put_of(2)))
    key = {"pk": {"S": "x"}, "sk": {"N": "2"}}
    answer = dynamodb.transact_get_items(
        TransactItems=[{"Get": {"TableName": "table", "Key": each}} for each in (key, KEY)]
    )
    assert answer["Responses"][0]["Item"] == key


@pytest.mark.parametrize(
    "parts",
    [[put_of(1), put_of(1)], [put_of(n) for n in range(101)]],
    ids=["one item twice", "101 parts"],
)
def test_a_transaction_that_cannot_be_is_refused(dynamodb, parts):
    assert code(dynamodb.transact_write_items, **transact(*parts)) == "ValidationException"


def test_batches_write_and_read(dynamodb):
    keys = [{"pk": {"S": "b"}, "sk": {"N": str(n)}} for n in range(25)]
    puts = [{"PutRequest": {"Item": key}} for key in keys]
    assert dynamodb.batch_write_item(RequestItems={"table": puts})["UnprocessedItems"] == {}
    answer = dynamodb.batch_get_item(RequestItems={"table": {"Keys": [*keys, KEY]}})

    assert len(answer["Responses"]["table"]) == 26
    assert answer["UnprocessedKeys"] == {}
    dynamodb.batch_write_item(RequestItems={"table": [{"DeleteRequest": {"Key": keys[0]}}]})
    assert "Item" not in dynamodb.get_item(TableName="table", Key=keys[0])


def test_a_batch_has_no_key_twice(dynamodb):
    puts = [{"PutRequest": {"Item": KEY}}] * 2

    assert code(dynamodb.batch_write_item, RequestItems={"table": puts}) == "ValidationException"


REFUSED = [
    ("get_item", {"Key": {"pk": {"S": "a"}}}),
    ("get_item", {"Key": {**KEY, "more": {"S": "x"}}}),
    ("put_item", {"Item": {"pk": {"S": "a"}}}),
    ("put_item", {"Item": {"pk": {"N": "1"}, "sk": {"N": "1"}}}),
    ("put_item", {"Item": {**KEY, "pk": {"S": ""}}}),
    ("put_item", {"Item": {**KEY, "set": {"SS": []}}}),
    (
        "query",
        {"KeyConditionExpression": "sk = :n", "ExpressionAttributeValues": {":n": {"N": "1"}}},
    ),
]


@pytest.mark.parametrize(("call", "params"), REFUSED)
def test_what_makes_no_sense_is_refused(dynamodb, call, params):
    assert code(getattr(dynamodb, call), TableName="table", **params) == "ValidationException"


def test_a_table_that_is_not_there_is_not_found(dynamodb):
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        dynamodb.get_item(TableName="nothing", Key=KEY)


TERMS = st.sampled_from([each for each, _ in CONDITIONS if "#in" not in each])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_both_agree_on_any_combination_of_conditions(dynamodb, data):
    known = dict(CONDITIONS)

    def tree(depth):
        kind = data.draw(st.sampled_from(["term", "AND", "OR", "NOT"] if depth else ["term"]))
        if kind == "term":
            text = data.draw(TERMS)
            return text, known[text]
        left, left_holds = tree(depth - 1)
        if kind == "NOT":
            return f"NOT ({left})", not left_holds
        right, right_holds = tree(depth - 1)
        holds = (left_holds and right_holds) if kind == "AND" else (left_holds or right_holds)
        return f"({left}) {kind} ({right})", holds

    text, expected = tree(2)
    params = {
        "ExpressionAttributeValues": {k: v for k, v in VALUES.items() if k in text},
        "ExpressionAttributeNames": {k: v for k, v in NAMES.items() if k in text},
    }
    found = dynamodb.scan(
        TableName="table",
        FilterExpression=text,
        **{name: value for name, value in params.items() if value},
    )
    assert found["Count"] == int(expected)
