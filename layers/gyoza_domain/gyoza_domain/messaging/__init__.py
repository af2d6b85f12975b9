"""The adapters of publishing: topics on SNS, parked events on SQS."""
