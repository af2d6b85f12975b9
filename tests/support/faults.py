"""Injects faults of the network and of the table below botocore's retries: each sending of a call may fail."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from io import BytesIO
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from gyoza_domain.bootstrap import clients

_MAX_DELAY_S = 0.3


class Fault(StrEnum):
    THROTTLED = "throttled"
    THROUGHPUT = "throughput exceeded"
    INTERNAL = "500, nothing written"
    INTERNAL_AFTER = "500 after the write"
    NOT_SENT = "timeout before the write"
    ANSWER_LOST = "timeout after the write"
    LATE = "timeout, and the write arrives later"
    CONFLICT = "cancelled for a conflict"
    CANCELLED_THROTTLED = "cancelled for throttling"
    CANCELLED_BOTH = "cancelled for a conflict and throttling"


Choose = Callable[[str], Fault | None]
"""Chooses the fault of a sending by the operation's name."""

_REASONS = {
    Fault.CONFLICT: ("TransactionConflict",),
    Fault.CANCELLED_THROTTLED: ("ThrottlingError",),
    Fault.CANCELLED_BOTH: ("TransactionConflict", "ThrottlingError"),
}
_CODES = {
    Fault.THROTTLED: (400, "ThrottlingException"),
    Fault.THROUGHPUT: (400, "ProvisionedThroughputExceededException"),
    Fault.INTERNAL: (500, "InternalServerError"),
    Fault.INTERNAL_AFTER: (500, "InternalServerError"),
}

OF_ANY_CALL = (Fault.THROTTLED, Fault.THROUGHPUT, Fault.INTERNAL, Fault.NOT_SENT, Fault.ANSWER_LOST)
OF_A_WRITE = (
    *(*OF_ANY_CALL, Fault.INTERNAL_AFTER, Fault.LATE),
    *(Fault.CONFLICT, Fault.CANCELLED_THROTTLED, Fault.CANCELLED_BOTH),
)


def seeded(seed: int, *, rate: float) -> Choose:
    """Choose a fault for a share of ``rate`` of the sendings, four times as often for writes."""
    rng = random.Random(seed)
    lock = threading.Lock()

    def choose(operation: str) -> Fault | None:
        is_write = operation == "TransactWriteItems"
        with lock:
            if rng.random() >= rate * (4 if is_write else 1):
                return None
            return rng.choice(OF_A_WRITE if is_write else OF_ANY_CALL)

    return choose


def scripted(*faults: Fault | None) -> Choose:
    """Choose these faults, in order, for the sendings of writes; none after them and none for reads."""
    left = list(faults)
    return lambda operation: left.pop(0) if left and operation == "TransactWriteItems" else None


class Faults:
    """The injected faults and their effects."""

    def __init__(self, choose: Choose, between: Callable[[], object]) -> None:
        self.client: Any = clients.dynamodb()
        self.injected: Counter[Fault] = Counter()
        self.sendings = 0
        self.sent_again = 0
        """The number of sendings of writes that repeat a token."""
        self._choose = choose
        self._between = between
        self._tokens: set[str] = set()
        self._stood: set[str] = set()
        self._late: list[threading.Timer] = []
        self._lock = threading.Lock()

    def __str__(self) -> str:
        faults = {str(fault): times for fault, times in sorted(self.injected.items())}
        return (
            f"{sum(faults.values())} faults in {self.sendings} sendings {faults}, {self.sent_again} writes sent again"
            f" by botocore, {len(self._stood)} lost answers of writes that stood"
        )

    def before_send(self, request: Any, **_: object) -> AWSResponse | None:
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        token = json.loads(request.body)["ClientRequestToken"] if operation == "TransactWriteItems" else None
        fault = self._fault_for(operation, token)
        if fault is None:
            return None
        if fault in _REASONS:
            return _cancelled(request, _REASONS[fault])
        if fault is Fault.LATE:
            self._send_later(request)
        if fault in (Fault.ANSWER_LOST, Fault.INTERNAL_AFTER):
            answer = self._send(request)
            if token is not None and answer.status_code == 200:
                with self._lock:
                    self._stood.add(token)
            self._between()
        if fault in _CODES:
            status, code = _CODES[fault]
            return _refusal(request, status, code, {})
        raise (ConnectTimeoutError if fault is Fault.NOT_SENT else ReadTimeoutError)(endpoint_url=request.url)

    def _fault_for(self, operation: str, token: str | None) -> Fault | None:
        """The fault for a sending. A write that took effect is not cancelled: DynamoDB repeats its first outcome."""
        fault = self._choose(operation)
        with self._lock:
            self.sendings += 1
            self.sent_again += token in self._tokens
            if token is not None:
                self._tokens.add(token)
            if fault in _REASONS and token in self._stood:
                fault = None
            if fault is not None:
                self.injected[fault] += 1
        return fault

    def _send(self, request: Any) -> AWSResponse:
        answer: AWSResponse = self.client._endpoint.http_session.send(request)
        return answer

    def _send_later(self, request: Any) -> None:
        timer = threading.Timer(random.uniform(0, _MAX_DELAY_S), self._send, [request])
        with self._lock:
            self._late.append(timer)
        timer.start()

    def settle(self) -> None:
        """Wait until all late sendings have arrived."""
        for timer in self._late:
            timer.join()


@contextmanager
def injected(choose: Choose, *, between: Callable[[], object] = lambda: None) -> Iterator[Faults]:
    """Inject faults into the sendings of the handlers while the block runs.

    ``between`` is called after a write whose answer is lost, before botocore sends it again.
    """
    faults = Faults(choose, between)
    events = faults.client.meta.events
    events.register("before-send.dynamodb.*", faults.before_send)
    try:
        yield faults
    finally:
        events.unregister("before-send.dynamodb.*", faults.before_send)
        faults.settle()


def _cancelled(request: Any, codes: tuple[str, ...]) -> AWSResponse:
    """A cancelled transaction. Each code belongs to a random one of its writes."""
    reasons: list[dict[str, Any]] = [{"Code": "None"} for _ in json.loads(request.body)["TransactItems"]]
    # A transaction of one write has room for one reason.
    for code, position in zip(codes, random.sample(range(len(reasons)), min(len(codes), len(reasons))), strict=False):
        reasons[position] = {"Code": code, "Message": "injected"}
    return _refusal(request, 400, "TransactionCanceledException", {"CancellationReasons": reasons})


class _Body(BytesIO):
    """A body with the method ``stream`` of urllib3's, which botocore reads by."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def _refusal(request: Any, status: int, code: str, more: dict[str, Any]) -> AWSResponse:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "injected"} | more
    headers = HTTPHeaders.from_dict({"Content-Type": "application/x-amz-json-1.0", "x-amzn-RequestId": "INJECTED"})
    return AWSResponse(request.url, status, headers, _Body(json.dumps(body).encode()))
