"""The adapters of publishing: SNS topics and an SQS queue of parked events."""
