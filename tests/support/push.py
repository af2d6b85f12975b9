"""Simulates the parts of SNS, SQS and Lambda's stream reader that publishing uses, with failures on demand."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zlib import crc32

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ReadTimeoutError

ARN_PREFIX = "arn:aws:sns:us-east-1:000000000000:gyoza_"
QUEUE_URL = "https://sqs.invalid/parked"

DEDUPLICATION_WINDOW_S = 300.0
CALL_S = 0.03
"""The time of a call on the simulated clock."""
RETRY_S = 1.0
"""The time on the simulated clock after which Lambda repeats a batch."""

Json = dict[str, Any]


class Crash(BaseException):
    """The process dies between two steps."""


WRITTEN_AT = datetime(2026, 3, 2, 20, 0, 1, tzinfo=UTC)
"""The time in every record, and the start of the simulated clock."""


@dataclass
class Clock:
    """A clock that moves only by calls and pauses."""

    now_s: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return WRITTEN_AT + timedelta(seconds=self.now_s)

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


@dataclass
class Faults:
    """The faults, each with its probability in a call. ``injected`` counts them.

    ``denied`` lists topics that nobody may publish to. The faults end at ``until_s`` on the simulated clock. A call to
    SNS takes ``call_s``.
    """

    random: Random = field(default_factory=Random)
    clock: Clock = field(default_factory=Clock)
    throttled: float = 0.0
    lost_answer: float = 0.0
    failed_entry: float = 0.0
    queue_down: float = 0.0
    crash: float = 0.0
    denied: frozenset[str] = frozenset()
    until_s: float = 200.0
    call_s: float = CALL_S
    injected: Counter[str] = field(default_factory=Counter)

    def strikes(self, kind: str, probability: float) -> bool:
        strikes = self.clock.now_s < self.until_s and self.random.random() < probability
        if strikes:
            self.injected[kind] += 1
        return strikes

    def step(self) -> None:
        """The place between two steps where the process may die. Raises Crash."""
        if self.strikes("crash", self.crash):
            raise Crash


class SimulatedSns:
    """Keeps the accepted messages in order, by local topic name. FIFO topics drop repeats for five minutes."""

    def __init__(self, faults: Faults | None = None, topics: Iterable[str] = ()) -> None:
        self.faults = faults or Faults()
        self.accepted: dict[str, list[Json]] = {topic: [] for topic in topics}
        self.calls: Counter[str] = Counter()
        self.delayed_run: str | None = None
        """The run whose messages SNS delays."""
        self._seen: dict[tuple[str, str, str], float] = {}

    def create_topic(self, *, Name: str, Attributes: dict[str, str], Tags: Sequence[Json]) -> Json:  # noqa: N803
        self.calls["create_topic"] += 1
        assert (Attributes.get("FifoTopic") == "true") is Name.endswith(".fifo")
        assert Tags == [{"Key": "gyoza:stack", "Value": "gyoza"}]
        self.accepted.setdefault(Name.removeprefix("gyoza_"), [])
        return {"TopicArn": ARN_PREFIX + Name.removeprefix("gyoza_")}

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Json]) -> Json:  # noqa: N803
        self.calls["publish_batch"] += 1
        self.faults.clock.now_s += self.faults.call_s
        self.faults.step()
        topic = TopicArn.removeprefix(ARN_PREFIX)
        _check_batch(PublishBatchRequestEntries)
        if topic in self.faults.denied:
            self.faults.injected["denied"] += 1
            raise client_error("AuthorizationError", 403)
        if topic not in self.accepted:
            raise client_error("NotFound", 404)
        if self.faults.strikes("throttled", self.faults.throttled):
            raise client_error("Throttled", 429)
        answer: Json = {"Successful": [], "Failed": []}
        for entry in PublishBatchRequestEntries:
            run_id = entry["MessageAttributes"]["run_id"]["StringValue"]
            if run_id == self.delayed_run or self.faults.strikes("failed entry", self.faults.failed_entry):
                answer["Failed"].append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
                continue
            self._accept(topic, entry)
            answer["Successful"].append({"Id": entry["Id"], "MessageId": "m"})
        if self.faults.strikes("lost answer", self.faults.lost_answer):
            raise ReadTimeoutError(endpoint_url="sns")
        self.faults.step()
        return answer

    def _accept(self, topic: str, entry: Json) -> None:
        if topic.endswith(".fifo"):
            now_s = self.faults.clock.now_s
            key = (topic, entry["MessageGroupId"], entry["MessageDeduplicationId"])
            if now_s - self._seen.get(key, -DEDUPLICATION_WINDOW_S) < DEDUPLICATION_WINDOW_S:
                self.faults.injected["repeat dropped by SNS"] += 1
                return
            self._seen[key] = now_s
        self.accepted[topic].append(json.loads(entry["Message"]))

    def ids(self, topic: str, run_id: str) -> list[str]:
        """The ids of a run's accepted messages, in order and without the run id."""
        bodies = [body for body in self.accepted.get(topic, []) if body["subject"] == run_id]
        return [body["id"].partition("/")[2] for body in bodies]


class SimulatedSqs:
    """A queue that hides a taken message until it is put back. It refuses the calls in ``failing``."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.messages: dict[str, str] = {}
        self.failing: set[str] = set()
        self.taken: set[str] = set()
        self._count = 0

    @property
    def parked(self) -> list[Json]:
        return [json.loads(body) for body in self.messages.values()]

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Json]) -> Json:  # noqa: N803
        assert QueueUrl == QUEUE_URL
        assert 1 <= len(Entries) <= 10
        self.faults.step()
        if self.faults.strikes("queue down", self.faults.queue_down):
            raise client_error("ServiceUnavailable", 503)
        for entry in Entries:
            self.put(entry["MessageBody"])
        self.faults.step()
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def put(self, body: str) -> None:
        self._count += 1
        self.messages[str(self._count)] = body

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, WaitTimeSeconds: int) -> Json:  # noqa: N803
        assert QueueUrl == QUEUE_URL
        assert WaitTimeSeconds <= 20
        self._may("receive_message")
        taken = [number for number in self.messages if number not in self.taken][:MaxNumberOfMessages]
        self.taken.update(taken)
        given = [{"MessageId": each, "ReceiptHandle": each, "Body": self.messages[each]} for each in taken]
        return {"Messages": given} if given else {}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        assert QueueUrl == QUEUE_URL
        self._may("delete_message")
        del self.messages[ReceiptHandle]
        self.taken.discard(ReceiptHandle)

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Json]) -> Json:  # noqa: N803
        assert QueueUrl == QUEUE_URL
        assert 1 <= len(Entries) <= 10
        self._may("change_message_visibility_batch")
        for entry in Entries:
            assert entry["VisibilityTimeout"] == 0
            self.taken.discard(entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def _may(self, call: str) -> None:
        if call in self.failing:
            raise client_error("ServiceUnavailable", 503)


class Context(LambdaContext):
    """Lambda's context with enough time left."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 60_000


class ClockContext(LambdaContext):
    """Lambda's context on a simulated clock."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._end_s = clock.now_s + timeout_s

    def get_remaining_time_in_millis(self) -> int:  # type: ignore[override] # Lambda's own has a self, too
        return int((self._end_s - self._clock.now_s) * 1000)


class ShortContext(LambdaContext):
    """Lambda's context with too little time for a slow call."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 5_000


@dataclass
class EventSourceMapping:
    """Lambda's reader of the stream. It repeats a batch from the lowest reported record and halves one that crashes.

    ``invoke`` is the function, and ``restart`` gives it a new process. The item of a record decides its shard, as with
    a parallelization factor. The shards take turns at random.
    """

    invoke: Callable[[Json], Json]
    restart: Callable[[], None]
    faults: Faults
    batch_size: int = 100
    shards: int = 3
    invocations: int = 0

    def run(self, records: Sequence[Json]) -> None:
        """Deliver all records. Raises AssertionError if a batch makes no progress in a thousand invocations."""
        queues: dict[int, list[Json]] = defaultdict(list)
        for record in self._shuffled(records):
            queues[crc32(_item(record).encode()) % self.shards].append(record)
        stalled = 0
        while waiting := [queue for queue in queues.values() if queue]:
            queue = self.faults.random.choice(waiting)
            size = self.faults.random.randint(1, self.batch_size)
            done = self._deliver(queue[:size])
            del queue[:done]
            stalled = 0 if done else stalled + 1
            assert stalled < 1_000, "the shard is stuck"

    def _deliver(self, batch: Sequence[Json]) -> int:
        """Invoke the function. Returns the number of finished records at the batch's start."""
        self.invocations += 1
        try:
            answer = self.invoke({"Records": batch})
        except Crash:
            self.restart()
            self.faults.clock.now_s += RETRY_S
            return self._deliver(batch[: len(batch) // 2]) if len(batch) > 1 else 0
        reported = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        if not reported:
            return len(batch)
        self.faults.clock.now_s += RETRY_S
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        assert reported <= set(numbers)
        return min(numbers.index(number) for number in reported)

    def _shuffled(self, records: Sequence[Json]) -> Iterator[Json]:
        """The records in a random order that keeps the order of each item's records."""
        of_item: dict[str, list[Json]] = defaultdict(list)
        for record in records:
            of_item[_item(record)].append(record)
        order = [_item(record) for record in records]
        self.faults.random.shuffle(order)
        for item in order:
            yield of_item[item].pop(0)


def stream_records(streams: Any, stream_arn: str) -> list[Json]:
    """All records of a stream in the form that a function gets."""
    records = []
    for shard in streams.describe_stream(StreamArn=stream_arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=stream_arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = streams.get_records(ShardIterator=iterator)
            if not answer["Records"]:
                break
            records += answer["Records"]
            iterator = answer.get("NextShardIterator")
    return [json.loads(json.dumps(record, default=datetime.timestamp)) for record in records]


def matching(records: Iterable[Json], patterns: Sequence[Json]) -> list[Json]:
    """The records that an event source mapping with these filter patterns lets through."""
    return [record for record in records if any(_matches(record, pattern) for pattern in patterns)]


def aged(record: Json, seconds: float) -> Json:
    """The record as if it had been written so long ago. DynamoDB Local tells the minute only."""
    change = {**record["dynamodb"], "ApproximateCreationDateTime": time.time() - seconds}
    return {**record, "dynamodb": change}


def client_error(code: str, status: int, message: str = "injected") -> ClientError:
    error = {"Code": code, "Message": message}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, "Publish")  # type: ignore[typeddict-item]


def _matches(value: Any, pattern: Any) -> bool:
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(_matches(value.get(name), each) for name, each in pattern.items())
    return any(value is not None if each == {"exists": True} else value == each for each in pattern)


def _item(record: Json) -> str:
    return json.dumps(record["dynamodb"]["Keys"], sort_keys=True)


def _check_batch(entries: Sequence[Json]) -> None:
    """Asserts that SNS would not refuse the whole batch."""
    assert 1 <= len(entries) <= 10
    assert len({entry["Id"] for entry in entries}) == len(entries)
    sizes = [
        len(entry["Message"].encode())
        + sum(
            len((name + each["DataType"] + each["StringValue"]).encode())
            for name, each in entry["MessageAttributes"].items()
        )
        for entry in entries
    ]
    assert sum(sizes) <= 262_144
