"""Records the AWS calls of each function as the permissions that IAM requires for them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.client import BaseClient

from testing.gateway import FUNCTION_OF_ROUTE, Answer, Gateway, resource_of
from tests.template.intrinsics import ACCOUNT, REGION, STACK

Permission = tuple[str, str]
"""An action and the resource it is allowed on."""

_PLACE = f"{REGION}:{ACCOUNT}"
TABLE = f"arn:aws:dynamodb:{_PLACE}:table/RunTable"
TOPICS = f"arn:aws:sns:{_PLACE}:{STACK}_*"
QUEUE = f"arn:aws:sqs:{_PLACE}:ParkedEvents"

_TRANSACTION_ACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html"""

_ONE_OF_A_BATCH = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "PublishBatch": "Publish",
}
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-using-identity-based-policies.html
and https://docs.aws.amazon.com/sns/latest/dg/sns-batch-api-actions.html: the single action allows the batch.
"""


class Recorder:
    """Records the permissions of all calls by function while ``of`` names one. ``record`` replaces botocore's call.

    ``meanwhile`` maps an operation's name to another client's action right before its next call.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.used: dict[str, set[Permission]] = defaultdict(set)
        self.of: str | None = None
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self._call = call

    def record(self, client: BaseClient, operation: str, params: Mapping[str, Any]) -> Any:
        if self.of is not None:
            if operation in self.meanwhile:
                self.meanwhile.pop(operation)()
            self.used[self.of].update(permissions(client.meta.service_model.service_name, operation, params))
        return self._call(client, operation, params)

    def during(self, function: str, action: Callable[[], Any]) -> Any:
        """Run the action as the function, so that all its calls count as the function's. Returns its result."""
        before, self.of = self.of, function
        try:
            return action()
        finally:
            self.of = before


class RecordingGateway(Gateway):
    """A gateway that records each request as one of its function."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def call(self, method: str, path: str, *arguments: Any, **options: Any) -> Answer:
        function = FUNCTION_OF_ROUTE[method, resource_of(method, path)]
        answer: Answer = self._recorder.during(
            function, lambda: Gateway.call(self, method, path, *arguments, **options)
        )
        return answer


def permissions(service: str, operation: str, params: Mapping[str, Any]) -> set[Permission]:
    """The permissions for one call. Raises NotImplementedError for an operation that no function is known to use."""
    match service:
        case "dynamodb":
            return {(f"dynamodb:{action}", resource) for action, resource in _dynamodb(operation, params)}
        case "sns" if operation in ("CreateTopic", "Publish", "PublishBatch", "TagResource"):
            actions = {_ONE_OF_A_BATCH.get(operation, operation)}
            if operation == "CreateTopic" and params.get("Tags"):
                actions.add("TagResource")
            return {(f"sns:{action}", TOPICS) for action in actions}
        case "sqs":
            return {(f"sqs:{_ONE_OF_A_BATCH.get(operation, operation)}", QUEUE)}
    raise NotImplementedError(service, operation)


def _dynamodb(operation: str, params: Mapping[str, Any]) -> Iterator[Permission]:
    match operation:
        case "TransactWriteItems":
            for item in params["TransactItems"]:
                [kind] = item
                yield _TRANSACTION_ACTIONS[kind], TABLE
        case "TransactGetItems":
            yield "GetItem", TABLE
        case "BatchGetItem" | "BatchWriteItem" | "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem":
            yield operation, TABLE
        case "Query":
            yield operation, f"{TABLE}/index/{params['IndexName']}" if "IndexName" in params else TABLE
        case _:
            raise NotImplementedError(operation)
