"""Every operation of the Lambda API by method and path, so that what ESB lacks is refused by name.

From botocore's model of ``lambda`` 2015-03-31. ``{}`` is one path segment, percent-encoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TABLE = """
AddLayerVersionPermission POST /2018-10-31/layers/{}/versions/{}/policy
AddPermission POST /2015-03-31/functions/{}/policy
CheckpointDurableExecution POST /2025-12-01/durable-executions/{}/checkpoint
CreateAlias POST /2015-03-31/functions/{}/aliases
CreateCapacityProvider POST /2025-11-30/capacity-providers
CreateCodeSigningConfig POST /2020-04-22/code-signing-configs
CreateEventSourceMapping POST /2015-03-31/event-source-mappings
CreateFunction POST /2015-03-31/functions
CreateFunctionUrlConfig POST /2021-10-31/functions/{}/url
DeleteAlias DELETE /2015-03-31/functions/{}/aliases/{}
DeleteCapacityProvider DELETE /2025-11-30/capacity-providers/{}
DeleteCodeSigningConfig DELETE /2020-04-22/code-signing-configs/{}
DeleteDurableExecution DELETE /2025-12-01/durable-executions/{}
DeleteEventSourceMapping DELETE /2015-03-31/event-source-mappings/{}
DeleteFunction DELETE /2015-03-31/functions/{}
DeleteFunctionCodeSigningConfig DELETE /2020-06-30/functions/{}/code-signing-config
DeleteFunctionConcurrency DELETE /2017-10-31/functions/{}/concurrency
DeleteFunctionEventInvokeConfig DELETE /2019-09-25/functions/{}/event-invoke-config
DeleteFunctionUrlConfig DELETE /2021-10-31/functions/{}/url
DeleteLayerVersion DELETE /2018-10-31/layers/{}/versions/{}
DeleteProvisionedConcurrencyConfig DELETE /2019-09-30/functions/{}/provisioned-concurrency
DeleteResourcePolicy DELETE /2026-07-09/resource-policy/{}
GetAccountSettings GET /2016-08-19/account-settings
GetAlias GET /2015-03-31/functions/{}/aliases/{}
GetCapacityProvider GET /2025-11-30/capacity-providers/{}
GetCodeSigningConfig GET /2020-04-22/code-signing-configs/{}
GetDurableExecution GET /2025-12-01/durable-executions/{}
GetDurableExecutionHistory GET /2025-12-01/durable-executions/{}/history
GetDurableExecutionState GET /2025-12-01/durable-executions/{}/state
GetEventSourceMapping GET /2015-03-31/event-source-mappings/{}
GetFunction GET /2015-03-31/functions/{}
GetFunctionCodeSigningConfig GET /2020-06-30/functions/{}/code-signing-config
GetFunctionConcurrency GET /2019-09-30/functions/{}/concurrency
GetFunctionConfiguration GET /2015-03-31/functions/{}/configuration
GetFunctionEventInvokeConfig GET /2019-09-25/functions/{}/event-invoke-config
GetFunctionRecursionConfig GET /2024-08-31/functions/{}/recursion-config
GetFunctionScalingConfig GET /2025-11-30/functions/{}/function-scaling-config
GetFunctionUrlConfig GET /2021-10-31/functions/{}/url
GetLayerVersion GET /2018-10-31/layers/{}/versions/{}
GetLayerVersionByArn GET /2018-10-31/layers?find=LayerVersion
GetLayerVersionPolicy GET /2018-10-31/layers/{}/versions/{}/policy
GetPolicy GET /2015-03-31/functions/{}/policy
GetProvisionedConcurrencyConfig GET /2019-09-30/functions/{}/provisioned-concurrency
GetResourcePolicy GET /2026-07-09/resource-policy/{}
GetRuntimeManagementConfig GET /2021-07-20/functions/{}/runtime-management-config
Invoke POST /2015-03-31/functions/{}/invocations
InvokeAsync POST /2014-11-13/functions/{}/invoke-async
InvokeWithResponseStream POST /2021-11-15/functions/{}/response-streaming-invocations
ListAliases GET /2015-03-31/functions/{}/aliases
ListCapacityProviders GET /2025-11-30/capacity-providers
ListCodeSigningConfigs GET /2020-04-22/code-signing-configs
ListDurableExecutionsByFunction GET /2025-12-01/functions/{}/durable-executions
ListEventSourceMappings GET /2015-03-31/event-source-mappings
ListFunctionEventInvokeConfigs GET /2019-09-25/functions/{}/event-invoke-config/list
ListFunctionUrlConfigs GET /2021-10-31/functions/{}/urls
ListFunctionVersionsByCapacityProvider GET /2025-11-30/capacity-providers/{}/function-versions
ListFunctions GET /2015-03-31/functions
ListFunctionsByCodeSigningConfig GET /2020-04-22/code-signing-configs/{}/functions
ListLayerVersions GET /2018-10-31/layers/{}/versions
ListLayers GET /2018-10-31/layers
ListProvisionedConcurrencyConfigs GET /2019-09-30/functions/{}/provisioned-concurrency?List=ALL
ListTags GET /2017-03-31/tags/{}
ListVersionsByFunction GET /2015-03-31/functions/{}/versions
PauseDurableExecution POST /2025-12-01/durable-executions/{}/pause
PublishLayerVersion POST /2018-10-31/layers/{}/versions
PublishVersion POST /2015-03-31/functions/{}/versions
PutFunctionCodeSigningConfig PUT /2020-06-30/functions/{}/code-signing-config
PutFunctionConcurrency PUT /2017-10-31/functions/{}/concurrency
PutFunctionEventInvokeConfig PUT /2019-09-25/functions/{}/event-invoke-config
PutFunctionRecursionConfig PUT /2024-08-31/functions/{}/recursion-config
PutFunctionScalingConfig PUT /2025-11-30/functions/{}/function-scaling-config
PutProvisionedConcurrencyConfig PUT /2019-09-30/functions/{}/provisioned-concurrency
PutResourcePolicy PUT /2026-07-09/resource-policy/{}
PutRuntimeManagementConfig PUT /2021-07-20/functions/{}/runtime-management-config
RemoveLayerVersionPermission DELETE /2018-10-31/layers/{}/versions/{}/policy/{}
RemovePermission DELETE /2015-03-31/functions/{}/policy/{}
ResumeDurableExecution POST /2025-12-01/durable-executions/{}/resume
SendDurableExecutionCallbackFailure POST /2025-12-01/durable-execution-callbacks/{}/fail
SendDurableExecutionCallbackHeartbeat POST /2025-12-01/durable-execution-callbacks/{}/heartbeat
SendDurableExecutionCallbackSuccess POST /2025-12-01/durable-execution-callbacks/{}/succeed
StopDurableExecution POST /2025-12-01/durable-executions/{}/stop
TagResource POST /2017-03-31/tags/{}
UntagResource DELETE /2017-03-31/tags/{}
UpdateAlias PUT /2015-03-31/functions/{}/aliases/{}
UpdateCapacityProvider PUT /2025-11-30/capacity-providers/{}
UpdateCodeSigningConfig PUT /2020-04-22/code-signing-configs/{}
UpdateEventSourceMapping PUT /2015-03-31/event-source-mappings/{}
UpdateFunctionCode PUT /2015-03-31/functions/{}/code
UpdateFunctionConfiguration PUT /2015-03-31/functions/{}/configuration
UpdateFunctionEventInvokeConfig POST /2019-09-25/functions/{}/event-invoke-config
UpdateFunctionUrlConfig PUT /2021-10-31/functions/{}/url
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, the shape of its path, and the query parameter that tells it from another."""

    name: str
    method: str
    path: re.Pattern[str]
    query: str


def _operation(line: str) -> Operation:
    name, method, target = line.split()
    path, _, query = target.partition("?")
    return Operation(name, method, re.compile(re.escape(path).replace(r"\{\}", "([^/]+)") + "/?"), query)


OPERATIONS = tuple(
    sorted((_operation(line) for line in _TABLE.split("\n") if line), key=lambda one: not one.query)
)


def find(method: str, path: str, query: str = "") -> tuple[str, tuple[str, ...]] | None:
    """The operation's name and the raw segments of its path; None where AWS has none."""
    given = query.split("&")
    for operation in OPERATIONS:
        if operation.method != method or (operation.query and operation.query not in given):
            continue
        if match := operation.path.fullmatch(path):
            return operation.name, match.groups()
    return None
