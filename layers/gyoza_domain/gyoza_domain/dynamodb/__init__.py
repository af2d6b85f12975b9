"""The adapter that keeps runs in one DynamoDB table."""
