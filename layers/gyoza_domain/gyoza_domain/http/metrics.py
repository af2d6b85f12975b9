"""Writes the metrics of the HTTP layer in CloudWatch's embedded format."""

_NAMESPACE = "gyoza"


def count_unreadable_rows(count: int) -> None:
    """Count runs or definitions that a list left out because a newer release wrote them."""
    # Loaded here: a list meets such a row only while two releases serve.
    from aws_lambda_powertools.metrics import MetricUnit, single_metric  # noqa: PLC0415

    with single_metric("UnreadableRuns", MetricUnit.Count, count, namespace=_NAMESPACE):
        pass
