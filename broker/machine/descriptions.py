"""Questions about jobs and processes, and their answers: statuses with what each job waits for."""

from __future__ import annotations

from collections.abc import Sequence

from zturbo.jobstates import ENDED, JobState
from zturbo.wire.carried import carried_id
from zturbo.wire.control import answers, to_broker
from zturbo.wire.control.fields import COUNT, MAX_PAGE
from zturbo_broker.jobs.codes import other_code
from zturbo_broker.jobs.job import Job
from zturbo_broker.jobs.quotas import JOB_MEMORY
from zturbo_broker.machine.known import Known
from zturbo_broker.machine.lifecycle import Lifecycle
from zturbo_broker.members.rights import User

__all__ = ["Descriptions"]

MOST_CODES = 16
"""Most codes of a stage that are told, the newest."""

MOST_USERS = 10_000
"""Most clients whose keys are noted for an answer."""


class Descriptions:
    """Handlers of questions that change nothing.

    Args:
        known: the facts that all parts use.
        life: the lifecycle of jobs.
    """

    def __init__(self, known: Known, life: Lifecycle) -> None:
        self.known = known
        self.say = known.say
        self.effects = known.effects
        self.pipelines = known.pipelines
        self.membership = known.membership
        self.table = known.table
        self.jobs = known.jobs
        self.counts = known.counts
        self.problems = known.problems
        self.trouble = known.trouble
        self.life = life
        self._users: dict[bytes, User] = {}
        """Identity -> whose key it has, of those who ask for jobs; empty without keys."""

    def describe(self, identity: bytes, message: to_broker.Jobs, now: float) -> None:
        """A client asks what ``zturbo jobs`` shows.

        The answer waits for the last counts of a job that has just ended. It also waits for those of a job
        whose results the client has had, and whose end the sink is about to report.
        """
        self._note_user(identity)
        if self.counts.waits(identity, message, self.jobs, now):
            self.effects.extend(self.life.forgets.say_now())  # the members answer with last counts
        else:
            self._describe(identity, message, now)

    def _note_user(self, identity: bytes) -> None:
        """Note whose key a question came under that is perhaps answered later."""
        if self.known.user is not None:
            self._users.pop(identity, None)
            self._users[identity] = self.known.user
            if len(self._users) > MOST_USERS:
                del self._users[next(iter(self._users))]

    def answer(self, now: float) -> None:
        """Answer questions that wait no longer."""
        for identity, asked in self.counts.answerable(now):
            self._describe(identity, asked, now)

    def _describe(self, identity: bytes, asked: to_broker.Jobs, now: float) -> None:
        after, root = 0, -1
        user = self._users.get(identity)
        if asked.job is None:
            jobs, after = self.table.page(asked.after, min(asked.most, MAX_PAGE))
        else:
            job, root = self.table.locate(asked.job)
            jobs = [] if job is None or root in job.let_go else [job]
        pipelines = []
        for pipeline in self.pipelines.values():
            counts = [self.membership.count(pipeline.name, i) for i in range(len(pipeline.stages))]
            problems = {"sink": self.problems.of("", -1, now)}
            for index, stage in enumerate(pipeline.stages):
                problems[stage] = self.problems.of(pipeline.name, index, now)
            pipelines.append(
                answers.Pipeline(
                    name=pipeline.name,
                    stages=tuple(pipeline.stages),
                    workers=tuple(counts),
                    problems={name: text for name, text in problems.items() if text is not None},
                    codes=self._codes(pipeline.name, pipeline.stages),
                )
            )
        mine = user is not None and user.role == "client" and not self.known.rights.shared
        description = answers.Description(
            jobs=tuple(self.status(job, root) for job in jobs if self.known.rights.sees(user, job)),
            next=after,
            totals={state.value: count for state, count in self.table.totals.items() if count},
            pipelines=tuple(pipelines),
            trouble=self.trouble.get(self.known.me),
            open=self.known.open,
            clock=self.known.clock,
            clients=self.table.quotas.told(user.name if mine and user is not None else None),
            job_memory=self.table.quotas.memory,
            refused=0 if mine else self.table.quotas.refused,
        )
        self.say.now(identity, asked.ref, description)

    def _codes(self, pipeline: str, stages: Sequence[str]) -> dict[str, str]:
        """The stages whose workers have different code, each with how many have which."""
        found: dict[str, str] = {}
        for index, stage in enumerate(stages):
            counted = self.membership.coded.counted(pipeline, index, self._has_met)
            if len(counted) > 1:
                told = self.known.codes.by_age(pipeline, index, counted)[-MOST_CODES:]
                found[stage] = ", ".join(f"{code} x{counted[code]}" for code in told)
        return found

    def _has_met(self, incarnation: bytes) -> bool:
        return not self.membership.unmet(incarnation)

    def list_members(self, identity: bytes, message: to_broker.Members, now: float) -> None:
        """A client asks what ``zturbo hosts`` shows."""
        known = self.known
        told = [(self.membership.broker, known.pid, known.about, 0.0), *self.membership.told(now)]
        processes = tuple(
            answers.Process(
                name=known.name_of(member),
                host=member.host,
                addresses=member.endpoints,
                results=member.results,
                incarnation=member.incarnation,
                pid=pid,
                version=about.version,
                python=about.python,
                code=about.code,
                heard=heard,
                cpu=about.cpu,
                memory=about.memory,
            )
            for member, pid, about, heard in told
        )
        found = answers.Members(processes=processes, clock=known.clock, gpus=known.gpus.all(now))
        self.say.now(identity, message.ref, found)

    def status(self, job: Job, root: int = -1) -> answers.Status:
        """One job's status; with ``root``, that of a job that it carries."""
        pipeline = self.pipelines.get(job.pipeline)
        stages = pipeline.stages if pipeline is not None else []
        counts = self._counts(job, len(stages))
        results, failed, stored = job.results, job.failed, 0
        if job.state is JobState.RUNNING and job.stamp is not None:
            results, failed, _, stored = self.counts.of(job.stamp.sink, job.id)
        carried, state = root >= 0, job.state_of(root)
        share = job.carries if carried else 1
        if carried:
            results, failed = job.over.get(root, (0, 0))
        kind, error = job.error_of(root)
        return answers.Status(
            id=carried_id(job.id, root) if carried else job.id,
            number=job.number,
            name=job.name_of(root),
            pipeline=job.pipeline,
            state=state.value,
            waiting=None if state in ENDED else self.waits_for(job),
            incidents=tuple(job.incidents),
            epoch=job.epoch,
            total=job.total if job.closed else None,
            fed=job.total,
            stages=tuple(stages),
            done=tuple(done for _, _, done, _ in counts),
            counts=tuple(
                answers.Counts(stage=name, queued=queued, running=running, done=done, failed=failures)
                for name, (queued, running, done, failures) in zip(stages, counts, strict=True)
            ),
            results=results,
            failed=failed,
            error=error,
            error_kind=kind,
            options={name: value for name, value in job.options.items() if not carried or name != "order"},
            created=job.created,
            ended=job.ended,
            carries=0 if carried else job.carries,
            carrier=job.id if carried else b"",
            over=0 if carried or job.state in ENDED else len(job.over.keys() | job.cancelled),
            parts=() if carried else _parts(job),
            input_bytes=0 if state in ENDED else min(COUNT, job.chunks.nbytes // share),
            memory=0 if state in ENDED else _memory(job) // share,
            stored=0 if state in ENDED else stored // share,
        )

    def waits_for(self, job: Job) -> str | None:
        """What the job waits for just now; None if it goes on."""
        if (trouble := self.trouble.get(self.known.me)) and job.state not in ENDED:
            return trouble
        pipeline = self.pipelines.get(job.pipeline)
        if job.state is not JobState.RUNNING or job.stamp is None:
            return self._turn(job) if job.state is JobState.WAITING else None
        if job.stamp.spool in self.life.lost_sinks:
            return "its sink to come back"
        if trouble := self.trouble.get(job.stamp.sink):
            return f"its sink: {trouble}"
        if job.recovering:
            return "its workers' reports, after the broker's restart"
        if pipeline is not None and (gone := self.known.code_gone(job)) is not None:
            living = {member.code for member in self.membership.members(job.pipeline, gone)}
            return other_code(pipeline.name, pipeline.stages[gone], job.stamp.codes[gone], living)
        for index, stage in enumerate(pipeline.stages if pipeline is not None else ()):
            if not self.membership.count(job.pipeline, index):
                problem = self.problems.of(job.pipeline, index, self.life.now)
                why = f": it does not start: {problem}" if problem else ""
                return f"a worker of stage {job.pipeline}.{stage}{why}"
        if job.backlog and job.paused_until > self.life.now:
            return "its results to be read: they fill its share of the sink's spool"
        return None

    def _turn(self, job: Job) -> str | None:
        """What a job waits for that has no seats yet: jobs get theirs in the order in which they came."""
        pipeline = self.pipelines.get(job.pipeline)
        if job.waiting is None and pipeline is not None:
            first = self.jobs.get(next(iter(pipeline.waiting), b""))
            if first is not None and first is not job and first.waiting:
                return f"its turn: a job before it waits for {first.waiting}"
            return "its turn: the jobs before it are placed first"
        return job.waiting

    def _counts(self, job: Job, stages: int) -> list[list[int]]:
        """[queued, running, done, failed] of each stage of a job."""
        counts = self.counts.of_stages(job, self.membership.members(job.pipeline), stages)
        if counts and job.state not in ENDED:
            counts[0][0] += job.backlog + self.life.senders.waiting(job.id)
        return counts


def _parts(job: Job) -> tuple[answers.Part, ...]:
    """The jobs that it carries, if they have names of their own."""
    return tuple(
        answers.Part(root=root, name=name, state=job.state_of(root).value, results=results, failed=failed)
        for root, name in enumerate(job.names)
        if root not in job.let_go
        for results, failed in (job.over.get(root, (0, 0)),)
    )


def _memory(job: Job) -> int:
    """About how many bytes of the broker's memory a job takes: its own, and roots that are here."""
    cached = len(job.cache) * job.chunks.nbytes // max(1, len(job.chunks))
    return min(COUNT, JOB_MEMORY + len(job.name) + cached)
