import pytest
from fastapi.testclient import TestClient

from maskwright.serving.reception import is_loopback
from tests.serving.conftest import MakeClient, refusal, send

KEY = "correct-horse-battery"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"Authorization": KEY}, 401),
        ({"Authorization": "Bearer correct-horse-batterz"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer caf\xe9".encode("latin-1")}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": f"bearer {KEY}"}, 200),
    ],
)
def test_with_a_key_the_api_answers_those_who_have_it(
    header: dict[str, str], status: int, make_client: MakeClient
) -> None:
    client = make_client(api_key=KEY)
    for path in ("/v1/model", "/metrics"):
        answer = client.get(path, headers=header)
        assert answer.status_code == status
        if status == 401:
            assert refusal(answer) == (401, "api_key_needed")
            assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_a_picture_without_the_key_is_not_computed(make_client: MakeClient, jpeg: bytes) -> None:
    client = make_client(api_key=KEY)
    assert refusal(send(client, jpeg)) == (401, "api_key_needed")
    assert send(client, jpeg, Authorization=f"Bearer {KEY}").status_code == 200


def test_the_log_holds_neither_key_nor_query_nor_picture(make_client: MakeClient, jpeg: bytes) -> None:
    records: list[object] = []
    client = make_client(api_key=KEY, log=records.append)
    send(client, jpeg, "?output=mask&secret=xyz", Authorization=f"Bearer {KEY}")
    send(client, jpeg, "?output=mask&secret=xyz", Authorization="Bearer not-the-right-one")
    assert [record["status"] for record in records if isinstance(record, dict)] == [200, 401]
    assert isinstance(records[0], dict)
    assert records[0].keys() == {
        *("event", "request_id", "client", "method", "path", "status", "seconds", "bytes_in", "bytes_out")
    }
    assert (records[0]["method"], records[0]["path"], records[0]["bytes_in"]) == ("POST", "/v1/predict", len(jpeg))
    for word in (KEY, "secret", "xyz", "not-the-right-one"):
        assert word not in str(records)


def test_the_log_says_by_which_code_a_request_was_refused(make_client: MakeClient, jpeg: bytes) -> None:
    records: list[dict[str, object]] = []
    client = make_client(log=records.append)
    answers = [
        send(client, jpeg, Origin="http://evil.example"),
        client.get("/nowhere"),
        client.get("/v1/predict"),
        send(client, jpeg, "?threshold=x"),
        send(client, b"no picture"),
        send(client, jpeg, Accept="text/html"),
    ]
    assert [record["code"] for record in records] == [refusal(answer)[1] for answer in answers]
    assert len({record["code"] for record in records}) == len(answers)
    send(client, jpeg)
    assert "code" not in records[-1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "10.0.0.1", "localhost.evil.example"])
def test_without_a_key_another_name_for_this_machine_is_refused(host: str, client: TestClient) -> None:
    assert refusal(client.get("/v1/model", headers={"Host": host})) == (403, "other_host")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "[::1]", "app.localhost"])
def test_names_of_this_machine_are_served(host: str, client: TestClient) -> None:
    assert client.get("/v1/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9000", "https://localhost"])
def test_without_a_key_pages_of_other_sites_are_refused(origin: str, client: TestClient, jpeg: bytes) -> None:
    assert refusal(send(client, jpeg, Origin=origin)) == (403, "other_origin")


def test_our_own_page_is_served_and_with_a_key_any(client: TestClient, make_client: MakeClient, jpeg: bytes) -> None:
    assert send(client, jpeg, Origin="http://127.0.0.1").status_code == 200
    answer = make_client(api_key=KEY).get(
        "/v1/model", headers={"Origin": "http://a.b", "Host": "a.b", "Authorization": f"Bearer {KEY}"}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", ""])  # noqa: S104
def test_addresses_that_others_can_reach_are_known(host: str) -> None:
    assert not is_loopback(host)
