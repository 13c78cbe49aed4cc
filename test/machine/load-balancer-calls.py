"""Calls AWS as a balancer does: by its own code, with the role's credentials. Prints one JSON text for each line of
input. The operation `turn` is a whole turn of the thread that registers a balancer."""

import json
import sys

sys.path[:0] = ["/project/machines/setup", "/project/machines/balancer"]
from wcs_balancer.aws import Aws
from wcs_balancer.document import TargetGroup
from wcs_balancer.errors import AwsError
from wcs_balancer.targets import Targets, Task, own_health

aws = Aws()
threads = Targets(aws)

for line in sys.stdin:
    service, operation, arguments = json.loads(line)
    try:
        if operation == "turn":
            groups = (TargetGroup(arguments["arn"], arguments["port"]),)
            task = Task(arguments["instance"], groups, arguments["action"])
            threads.want(task)
            threads.turn()
            answer = own_health(task, threads.seen)._asdict()
        else:
            answer = aws.call(service, operation, **arguments)
    except AwsError as error:
        answer = {"error": error.code, "message": str(error)}
    print(json.dumps(answer, default=str), flush=True)
