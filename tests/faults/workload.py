"""What clients ask of the server in one simulation, drawn from its seed: a random mix of all kinds of jobs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from batchyard.exceptions import ApiError, BatchyardError
from tests.faults.plan import MAX_FAULTS_SECONDS
from tests.faults.story import Story
from tests.faults.virtual import Calendar

AGAIN_SECONDS = 2.0
GRACE_SECONDS = 30
"""What a job has after SIGTERM, unless its definition says otherwise (here none does)."""
TOO_LARGE = ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE", "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT")
"""Why a job that needs more than there is waits; its queue cancels it after a while."""
RULES: tuple[list[dict[str, str]], ...] = (
    [],
    [],
    [{"action": "RETRY", "onStatusReason": "Host EC2*"}, {"action": "EXIT", "onReason": "*"}],
    [{"action": "EXIT", "onExitCode": "3"}],
    [{"action": "EXIT", "onExitCode": "13*"}, {"action": "RETRY", "onReason": "Cannot*"}],
)


class Job(Struct, frozen=True, kw_only=True):
    """A job as its client meant it. `waits_for` are (id of a job or child, type), SEQUENTIAL without an id."""

    name: str
    queue: str
    vcpus: int
    size: int | None = None
    nodes: int | None = None
    waits_for: tuple[tuple[str, str], ...] = ()
    attempts: int = 1
    rules: tuple[dict[str, str], ...] = ()
    timeout_seconds: int | None = None
    needs: tuple[tuple[str, int], ...] = ()
    share: str | None = None
    gpus: int = 0
    """Of one attempt: of a gang, of each of its nodes."""

    def request(self) -> dict[str, Any]:
        """The parameters of SubmitJob."""
        asked: dict[str, Any] = {"jobName": self.name, "jobQueue": self.queue, "jobDefinition": "one"}
        asked["retryStrategy"] = {"attempts": self.attempts, "evaluateOnExit": list(self.rules)}
        if self.nodes is not None:
            asked["jobDefinition"] = f"gang{self.nodes}"
        else:
            need = [{"type": "VCPU", "value": str(self.vcpus)}]
            if self.gpus:
                need.append({"type": "GPU", "value": str(self.gpus)})
            asked["containerOverrides"] = {"resourceRequirements": need}
        if self.size is not None:
            asked["arrayProperties"] = {"size": self.size}
        if self.waits_for:
            entries = [{"jobId": job_id, "type": kind} for job_id, kind in self.waits_for]
            asked["dependsOn"] = [{key: value for key, value in each.items() if value} for each in entries]
        if self.timeout_seconds is not None:
            asked["timeout"] = {"attemptDurationSeconds": self.timeout_seconds}
        if self.needs:
            needs = [{"consumableResource": name, "quantity": quantity} for name, quantity in self.needs]
            asked["consumableResourcePropertiesOverride"] = {"consumableResourceList": needs}
        if self.share is not None:
            asked["shareIdentifier"] = self.share
            asked["schedulingPriorityOverride"] = len(self.name) % 3
        return asked


class Acknowledged(Struct):
    """What the server has promised: its answers. Stops are (kind, id of a job or child)."""

    jobs: dict[str, Job] = {}
    stops: list[tuple[str, str]] = []
    tokens_added: int = 0


Answer = Callable[[dict[str, Any] | Exception], None]


class Clients:
    """Everybody who calls the API. `call(operation, params, answer)` reaches the server, or raises ConnectionError."""

    def __init__(
        self,
        seed: int,
        calendar: Calendar,
        story: Story,
        call: Callable[[str, dict[str, Any], Answer], None],
    ) -> None:
        self.dice = random.Random(f"{seed}/clients")
        self.acknowledged = Acknowledged()
        self.jobs_by_name: dict[str, Job] = {}
        """All that was ever asked for: an unacknowledged SubmitJob may have been stored all the same."""
        self._calendar = calendar
        self._story = story
        self._call = call
        self._unanswered: dict[int, Callable[[], None]] = {}
        self._numbers = 0
        self.max_vcpus: dict[str, int] = {}
        self.queues: list[str] = []
        self.host_vcpus = self.dice.randint(3, 10)
        self.totals = {"licence": self.dice.randint(1, 3), "token": self.dice.randint(3, 30)}
        self.has_consumables = self.dice.random() < 0.5
        self.has_fair_share = self.dice.random() < 0.5
        self._gpu_dice = random.Random(f"{seed}/gpus")
        self.gpus = tuple(f"GPU-{number}" for number in range(self._gpu_dice.choice((0, 1, 2, 4))))

    # ---- what there is from the start

    def setup(self) -> list[tuple[str, dict[str, Any]]]:
        """The resources; each request can be made once the one before has been taken in."""
        asked: list[tuple[str, dict[str, Any]]] = []
        for name in ("left", "right")[: self.dice.randint(1, 2)]:
            self.max_vcpus[name] = self.dice.randint(2, 6)
            resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": self.max_vcpus[name], "instanceTypes": ["optimal"]}
            resources |= {"instanceRole": "ecsInstanceRole", "subnets": ["subnet-1"]}
            asked.append(
                (
                    "CreateComputeEnvironment",
                    {"computeEnvironmentName": name, "type": "MANAGED", "computeResources": resources},
                )
            )
        environments = list(self.max_vcpus)
        for name in ("first", "second")[: self.dice.randint(1, 2)]:
            self.queues.append(name)
            asked.append(("CreateJobQueue", self._queue(name, environments)))
        if self.has_fair_share:
            self.queues.append("fair")
            policy = {"shareDistribution": [{"shareIdentifier": "b", "weightFactor": 0.5}], "shareDecaySeconds": 60}
            policy["computeReservation"] = self.dice.choice((0, 40))
            asked.append(("CreateSchedulingPolicy", {"name": "policy", "fairsharePolicy": policy}))
            arn = "arn:aws:batch:us-east-1:123456789012:scheduling-policy/policy"
            asked.append(("CreateJobQueue", {**self._queue("fair", environments), "schedulingPolicyArn": arn}))
        if self.has_consumables:
            for name, kind in (("licence", "REPLENISHABLE"), ("token", "NON_REPLENISHABLE")):
                total = {"totalQuantity": self.totals[name], "resourceType": kind}
                asked.append(("CreateConsumableResource", {"consumableResourceName": name, **total}))
        container: dict[str, Any] = {"image": "busybox", "vcpus": 1, "memory": 64, "command": ["work"]}
        asked.append(
            (
                "RegisterJobDefinition",
                {"jobDefinitionName": "one", "type": "container", "containerProperties": container},
            )
        )
        for count in (2, 3):
            needs = [{"type": "GPU", "value": str(self._gpus_of_nodes(count))}]
            node = {**container, "resourceRequirements": needs} if self._gpus_of_nodes(count) else container
            ranges = [{"targetNodes": "0:", "container": node}]
            nodes = {"numNodes": count, "mainNode": 0, "nodeRangeProperties": ranges}
            asked.append(
                (
                    "RegisterJobDefinition",
                    {"jobDefinitionName": f"gang{count}", "type": "multinode", "nodeProperties": nodes},
                )
            )
        return asked

    def _queue(self, name: str, environments: list[str]) -> dict[str, Any]:
        limits = [{"reason": each, "state": "RUNNABLE", "maxTimeSeconds": 30, "action": "CANCEL"} for each in TOO_LARGE]
        mixed = self.dice.sample(environments, len(environments))
        order = [{"order": number, "computeEnvironment": each} for number, each in enumerate(mixed)]
        asked = {"jobQueueName": name, "priority": self.dice.randint(1, 3), "computeEnvironmentOrder": order}
        return {**asked, "jobStateTimeLimitActions": limits}

    def _gpus_of_nodes(self, count: int) -> int:
        return min(1, len(self.gpus) // count)

    # ---- what they do

    def begin(self) -> None:
        """Put everything that clients are going to do into the calendar."""
        dice = self.dice
        actions = (
            *(self._submit,) * 12,
            *(lambda: self._stop("TerminateJob"), lambda: self._stop("CancelJob")) * 2,
            self._switch_queue,
            self._switch_environment,
            *((self._delete_queue,) if len(self.queues) > 1 else ()),
        )
        for _ in range(dice.choice((6, 20, 50))):
            self._calendar.after(dice.uniform(0, MAX_FAULTS_SECONDS * dice.random()), dice.choice(actions))

    def _submit(self) -> None:
        self._numbers += 1
        job = self._draw(f"job-{self._numbers}")
        self.jobs_by_name[job.name] = job

        def answered(answer: dict[str, Any] | Exception) -> None:
            if isinstance(answer, Exception):
                self._story.tell(f"SubmitJob {job.name} is refused: {answer}")
            else:
                self._story.names[answer["jobId"]] = job.name
                self.acknowledged.jobs[answer["jobId"]] = job
                self._story.tell(f"SubmitJob {job.name} is acknowledged")

        self._story.tell(f"SubmitJob {job}")
        self._once("SubmitJob", job.request(), answered)

    def _draw(self, name: str) -> Job:
        dice = self.dice
        queue = dice.choice(self.queues)
        nodes = dice.choice((2, 3)) if dice.random() < 0.15 else None
        size = dice.randint(2, 6) if nodes is None and dice.random() < 0.4 else None
        room = min(max(self.max_vcpus.values()), self.host_vcpus)
        if nodes is not None and nodes > room:
            nodes = None
        needs: list[tuple[str, int]] = []
        if self.has_consumables and dice.random() < 0.4:
            needs = [(each, 1) for each in dice.sample(("licence", "token"), dice.randint(1, 2))]
        return Job(
            name=name,
            queue=queue,
            vcpus=1 if nodes is not None else 64 if dice.random() < 0.03 else min(room, dice.choice((1, 1, 1, 2, 4))),
            size=size,
            nodes=nodes,
            waits_for=self._draw_dependencies(size),
            attempts=dice.choice((1, 1, 2, 3, 10)),
            rules=tuple(dice.choice(RULES)),
            timeout_seconds=dice.choice((None, None, None, 1, 10, 60)),
            needs=tuple(needs),
            share=dice.choice(("a", "b", "c")) if queue == "fair" else None,
            gpus=self._gpus_of_nodes(nodes) if nodes is not None else self._draw_gpus(),
        )

    def _draw_gpus(self) -> int:
        """Mostly none, sometimes one more than there are: such a job is cancelled after a while."""
        dice = self._gpu_dice
        if not self.gpus or dice.random() < 0.6:
            return 0
        return len(self.gpus) + 1 if dice.random() < 0.05 else dice.randint(1, len(self.gpus))

    def _draw_dependencies(self, size: int | None) -> tuple[tuple[str, str], ...]:
        dice = self.dice
        found: list[tuple[str, str]] = []
        known = self.acknowledged.jobs
        if known and dice.random() < 0.5:
            for other in dice.sample(sorted(known), min(len(known), dice.randint(1, 2))):
                other_size = known[other].size
                if other_size is not None and dice.random() < 0.4:
                    found.append((f"{other}:{dice.randrange(other_size)}", ""))
                elif other_size is not None and other_size == size:
                    found.append((other, "N_TO_N"))
                else:
                    found.append((other, ""))
        if size is not None and dice.random() < 0.25:
            found.append(("", "SEQUENTIAL"))
        return tuple(found)

    def _stop(self, operation: str) -> None:
        known = self.acknowledged.jobs
        if not known:
            return
        target = self.dice.choice(sorted(known))
        size = known[target].size
        if size is not None and self.dice.random() < 0.5:
            target = f"{target}:{self.dice.randrange(size)}"

        def answered(answer: dict[str, Any] | Exception) -> None:
            self._story.tell(f"{operation} {target} is answered", answer)
            if not isinstance(answer, Exception):
                self.acknowledged.stops.append((operation, target))

        self._story.tell(f"{operation} {target}")
        self._once(operation, {"jobId": target, "reason": f"{operation} was asked"}, answered)

    def _switch_queue(self) -> None:
        params = {"jobQueue": self.dice.choice(self.queues), "state": self.dice.choice(("ENABLED", "DISABLED"))}
        self._tell_and_ask("UpdateJobQueue", params)

    def _switch_environment(self) -> None:
        name = self.dice.choice(list(self.max_vcpus))
        params = {"computeEnvironment": name, "state": self.dice.choice(("ENABLED", "DISABLED"))}
        self._tell_and_ask("UpdateComputeEnvironment", params)

    def _delete_queue(self) -> None:
        """Its jobs end with it. It may be refused, or come to nothing halfway: then the queue stays, disabled."""
        if len(self.queues) < 2:
            return
        name = self.queues.pop()
        self._tell_and_ask("UpdateJobQueue", {"jobQueue": name, "state": "DISABLED"})
        self._calendar.after(3.0, lambda: self._tell_and_ask("DeleteJobQueue", {"jobQueue": name}))

    def _tell_and_ask(self, operation: str, params: dict[str, Any]) -> None:
        self._story.tell(f"{operation} {params}")
        self._once(operation, params, lambda answer: self._story.tell(f"{operation} is answered", answer))

    # ---- the end

    def finish(self) -> None:
        """Ask for all that lets every job come to its end, until it is granted."""
        for name in self.queues:
            self._insist("UpdateJobQueue", {"jobQueue": name, "state": "ENABLED"})
        for name in self.max_vcpus:
            self._insist("UpdateComputeEnvironment", {"computeEnvironment": name, "state": "ENABLED"})
        if self.has_consumables:
            added = {"consumableResource": "token", "operation": "ADD", "quantity": 1000, "clientToken": "the last"}
            self.acknowledged.tokens_added = 1000
            self._insist("UpdateConsumableResource", added)

    def _insist(self, operation: str, params: dict[str, Any]) -> None:
        """Ask again until it is done. A resource that is being changed refuses further changes for a moment."""

        def answered(answer: dict[str, Any] | Exception) -> None:
            if isinstance(answer, Exception):
                self._calendar.after(AGAIN_SECONDS, lambda: self._insist(operation, params))

        self._ask(operation, params, answered)

    # ---- how they ask

    def _once(self, operation: str, params: dict[str, Any], answered: Answer) -> None:
        self._ask(operation, params, answered)

    def _ask(self, operation: str, params: dict[str, Any], answered: Answer) -> None:
        self._numbers += 1
        number = self._numbers
        self._unanswered[number] = lambda: answered(ConnectionError("the server is gone"))

        def take(answer: dict[str, Any] | Exception) -> None:
            if self._unanswered.pop(number, None) is None:
                return
            if isinstance(answer, Exception) and not isinstance(answer, (ApiError, BatchyardError)):
                raise answer
            answered(answer)

        try:
            self._call(operation, params, take)
        except ConnectionError as error:
            del self._unanswered[number]
            answered(error)

    def server_died(self) -> None:
        """Nobody will answer what is under way."""
        unanswered, self._unanswered = self._unanswered, {}
        for hang_up in unanswered.values():
            hang_up()
