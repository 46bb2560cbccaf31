"""A broker behind TLS and SASL that allows what docs/kafka-access.md says, and no more."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from processor.sandbox.servers.kafka import KafkaServer, Listener
from processor.sandbox.traffic.generator import Mix
from processor.sandbox.traffic.oracle import expected
from tests.integration.kit import PATIENCE_S, real
from tests.integration.ledger import Ledger
from tests.integration.servers import BROKER_SETTINGS
from tests.integration.stage import PARTITIONS, Stage, past_traffic
from tests.support.patience import patient

USER, PASSWORD = "processor", "s3cr3t-of-the-user"
DOCUMENT = Path(__file__).parents[2] / "docs" / "kafka-access.md"
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("access")]

Right = tuple[str, str, str]
"""Resource, setting that names it, operation."""

Secured = tuple[KafkaServer, Path]
"""The server, and the certificate that a client has to trust."""

TOLD = {
    "KAFKA__EVENTS_TOPIC Read": "we may not describe it; allow Read",
    "KAFKA__STATUS_TOPIC Read": "we may not read it; allow Read",
    "KAFKA__STATUS_TOPIC Write": "we may not write it; allow Write",
    "KAFKA__STATUS_TOPIC DescribeConfigs": "allow DescribeConfigs",
    "KAFKA__DEAD_LETTER_TOPIC Write": "we may not describe it; allow Read or Write",
    "KAFKA__GROUP_ID Read": "GROUP_AUTHORIZATION_FAILED",
    "KAFKA__TRANSACTIONAL_ID Write": "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
}


def documented() -> list[Right]:
    """The table of the document."""
    rows = re.findall(
        r"^\| ([a-z ]+) \| `(\w+)`[^|]*\| ([A-Za-z, ]+) \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    return [(kind, name, one) for kind, name, several in rows for one in several.split(", ")]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A server's key with its certificate, and what a client has to trust."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.pem").write_bytes(private + made)
    (folder / "ca.pem").write_bytes(made)
    return folder / "server.pem", folder / "ca.pem"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    store, trusted = certificate(tmp_path_factory.mktemp("tls"))
    settings = {
        **BROKER_SETTINGS,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secure.ssl.keystore.type": "PEM",
        "listener.name.secure.ssl.keystore.location": str(store),
        "listener.name.secure.plain.sasl.jaas.config": (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_{USER}="{PASSWORD}";'
        ),
    }
    with real(lambda: KafkaServer(settings, listeners={"SECURE": Listener("SASL_SSL")})) as server:
        yield server, trusted


@pytest.fixture
def stage(secured: Secured, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(secured[0].bootstrap_servers, tmp_path)
    for name, config in (
        (stage.names.status, {"cleanup.policy": "compact"}),
        (stage.names.dead_letter, {}),
    ):
        stage.cluster.create(name, PARTITIONS, config)
    yield stage
    stage.close()


def options(secured: Secured, **changes: str) -> dict[str, str]:
    """How a process connects as the user."""
    server, trusted = secured
    properties = {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(trusted),
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": PASSWORD,
        **changes,
    }
    return {
        "KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{server.port('SECURE')}",
        "KAFKA__OPTIONS": json.dumps(properties),
    }


def allow(stage: Stage, rights: list[Right]) -> None:
    named = {
        "KAFKA__EVENTS_TOPIC": stage.names.events,
        "KAFKA__STATUS_TOPIC": stage.names.status,
        "KAFKA__DEAD_LETTER_TOPIC": stage.names.dead_letter,
        "KAFKA__GROUP_ID": stage.names.group_id,
        "KAFKA__TRANSACTIONAL_ID": f"{stage.names.group_id}-one",
    }
    bindings = [
        AclBinding(
            RESOURCES[kind], named[name], ResourcePatternType.LITERAL,
            f"User:{USER}", "*", OPERATIONS[operation], AclPermissionType.ALLOW,
        )
        for kind, name, operation in rights
    ]  # fmt: skip
    for answer in stage.cluster.admin.create_acls(bindings).values():
        answer.result(PATIENCE_S)


def test_what_is_documented_is_enough(secured: Secured, stage: Stage) -> None:
    allow(stage, documented())
    traffic = past_traffic(100, 11, Mix(poisoned=0.05))
    stage.org.add_tasks(expected(traffic).tasks)
    stage.feed(traffic).join()
    check = stage.start("one", "check", **options(secured))
    assert check.wait() == 0, check.log()
    once = stage.start("one", "run", "--once", **options(secured))
    assert once.wait(90) == 0, once.log()
    Ledger(stage).check_all_right(traffic)


@pytest.mark.parametrize("missing", documented(), ids=" ".join)
def test_each_right_is_needed_and_missed_by_name(
    secured: Secured, stage: Stage, missing: Right
) -> None:
    allow(stage, [right for right in documented() if right != missing])
    traffic = past_traffic(10, 11)
    stage.org.add_tasks(expected(traffic).tasks)
    stage.feed(traffic).join()
    give_up = str(patient(5))
    once = stage.start("one", "run", "--once", "--timeout", give_up, **options(secured))
    assert once.wait() == (1 if missing[0] == "group" else 2), once.log()
    assert TOLD[" ".join(missing[1:])] in once.log()


@pytest.mark.parametrize("missing", documented(), ids=" ".join)
def test_check_misses_each_right(secured: Secured, stage: Stage, missing: Right) -> None:
    allow(stage, [right for right in documented() if right != missing])
    check = stage.start("one", "check", **options(secured))
    assert check.wait() == 1, check.log()
    wrong = [line for line in check.log().splitlines() if line.startswith("CHANGE  kafka: ")]
    named = {"group": stage.names.group_id, "transactional id": f"{stage.names.group_id}-one"}
    told = f"allow {missing[2]}" if missing[0] in named else TOLD[" ".join(missing[1:])]
    assert [told in line and named.get(missing[0], "") in line for line in wrong] == [True]


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ({"sasl.password": "wr0ng"}, 2, "Invalid username or password"),
        ({"sasl.mechanism": "SCRAM-SHA-512"}, 2, "broker's supported mechanisms: PLAIN"),
        ({"ssl.ca.location": "/dev/null"}, 2, "ssl.ca.location failed"),
        (
            {"security.protocol": "PLAINTEXT"},
            75,
            "and security.protocol right?",
        ),
    ],
)
def test_a_connection_that_is_refused_says_why_and_not_by_which_password(
    secured: Secured, stage: Stage, wrong: dict[str, str], code: int, said: str
) -> None:
    process = stage.start("one", **options(secured, **wrong))
    assert process.wait() == code, process.log()
    assert said in process.log()
    assert "wr0ng" not in process.log()
    assert PASSWORD not in process.log()
