"""Imports the table of an earlier stack into a new stack, which `make deploy` then completes.

    python -m tools.deploy.import_table --config-env default --table <its name>

CloudFormation creates nothing else while it imports a resource, so the stack has only the table at first. Exits with 1
and CloudFormation's reasons if it refuses.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError

from tools.deploy.environment import Environment, EnvironmentUnknown, load_environment
from tools.deploy.template import load_template

TABLE = "RunTable"
_CHANGE_SET = "import-the-table"


def template_of_the_table(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template with the table and every parameter. Later deployments compare the numbers of shards."""
    return {
        "AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"],
        "Description": template["Description"],
        "Parameters": template["Parameters"],
        "Resources": {TABLE: template["Resources"][TABLE]},
    }


def import_table(cloudformation: Any, environment: Environment, template: Mapping[str, Any], table: str) -> None:
    """Raises ClientError if the stack exists or the table does not, and WaiterError if the table does not fit."""
    stack_name = environment.stack_name
    # CloudFormation takes no tags with an import; the deployment after it brings them.
    named = {"StackName": stack_name, "ChangeSetName": _CHANGE_SET}
    cloudformation.create_change_set(
        **named,
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps(template_of_the_table(template)),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in environment.parameters.items()],
        ResourcesToImport=[
            {
                "ResourceType": "AWS::DynamoDB::Table",
                "LogicalResourceId": TABLE,
                "ResourceIdentifier": {"TableName": table},
            }
        ],
    )
    cloudformation.get_waiter("change_set_create_complete").wait(**named)
    cloudformation.execute_change_set(**named)
    cloudformation.get_waiter("stack_import_complete").wait(StackName=stack_name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-env", default="default")
    parser.add_argument("--table", required=True)
    options = parser.parse_args()
    try:
        environment = load_environment(options.config_env)
        import_table(boto3.client("cloudformation"), environment, load_template(), options.table)
    except (EnvironmentUnknown, ClientError) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except WaiterError as error:
        answer: Any = error.last_response
        print(answer.get("StatusReason") or answer["Stacks"][0]["StackStatus"], file=sys.stderr)
        return 1
    print(f"{options.table} is the table of {environment.stack_name}; now: make deploy ENV={environment.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
