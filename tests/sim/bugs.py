"""Planted bugs: each a small change of one function's text, that the simulated worlds are to catch.

They are caught by the general checks, the oracle, or the condition of rest, never by an assert that was
made for one. ``python -m tests.sim --bugs`` sweeps them.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["BUGS", "Bug"]


@dataclass(frozen=True)
class Bug:
    """One planted bug.

    Args:
        name: what it breaks.
        where: ``module:Class.method``.
        old: text of the method that is changed.
        new: what it is changed to.
        only: faults under which it shows; empty for any.
        within: pipelines in which it shows; empty for any.
    """

    name: str
    where: str
    old: str
    new: str
    only: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    def _change(self, source: str) -> str:
        """Later lines of ``old`` and ``new`` are indented like their first."""
        head = self.old.split("\n")[0]
        for line in source.split("\n"):
            if head in line:
                indent = line[: len(line) - len(line.lstrip())]
                old = self.old.replace("\n", "\n" + indent)
                if old in source:
                    return source.replace(old, self.new.replace("\n", "\n" + indent), 1)
        raise AssertionError(f"{self.name}: {self.where} has no {self.old!r} any more")

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The product has the bug inside of this."""
        module_name, _, path = self.where.partition(":")
        module = importlib.import_module(module_name)
        owner: Any = module
        *outer, attribute = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        owner = next((cls for cls in getattr(owner, "__mro__", ()) if attribute in vars(cls)), owner)
        original = inspect.getattr_static(owner, attribute)
        function = (
            original.fget if isinstance(original, property) else getattr(original, "__func__", original)
        )
        source = textwrap.dedent(inspect.getsource(function))
        source = self._change(source)
        namespace: dict[str, Any] = {}
        code = compile("from __future__ import annotations\n" + source, self.where, "exec")
        exec(code, function.__globals__, namespace)
        setattr(owner, attribute, namespace[attribute])
        try:
            yield
        finally:
            setattr(owner, attribute, original)


_SENDER = "zturbo.core.links.sender:LinkSender."
_RECEIVER = "zturbo.core.links.receiver:LinkReceiver."
_RECEIVERS = "zturbo.core.links.receivers:Receivers."
_SENDERS = "zturbo.core.links.senders:Senders."
_CHOICE = "zturbo.core.links.choice:Choice."
_COMPLAINTS = "zturbo_broker.members.complaints:Complaints."
_CUSTODY = "zturbo.core.links.custody:Custody."
_WORKER = "zturbo.core.worker.machine:WorkerMachine."
_ARRIVALS = "zturbo.core.worker.arrivals:Arrivals."
_QUEUE = "zturbo.core.worker.queue:InputQueue."
_FEED = "zturbo.core.worker.feed:Feed."
_ASYNC = "zturbo.runtime.code.overlapping:AsyncRunner."
_SINK = "zturbo.core.sink.machine:SinkMachine."
_SINK_JOB = "zturbo.core.sink.job:SinkJob."
_REPORTS = "zturbo.core.sink.reports:Reports."
_SEQUENCER = "zturbo.core.order.sequencer:Sequencer."
_STREAM = "zturbo.core.result_stream:ResultStream."
_MEMBERS = "zturbo_broker.machine.from_members:FromMembers."
_DEPARTURES = "zturbo_broker.machine.departures:Departures."
_RESTART = "zturbo_broker.machine.restart:Restart."
_LIFE = "zturbo_broker.machine.lifecycle:Lifecycle."
_CLIENTS = "zturbo_broker.machine.from_clients:FromClients."
_ROOTS = "zturbo_broker.jobs.roots:Roots."
_RECOVERY = "zturbo_broker.machine.recovery:Recovery."
_REACH = "zturbo_broker.machine.reachability:Reachability."
_TRIAL = "zturbo_broker.members.trials:Trial."
_BROKER = "zturbo_broker.machine.machine:BrokerMachine."
_COUNTS = "zturbo_broker.jobs.counts:Counts."
_ENDED = "zturbo.core.counts:EndedJobs."

BUGS = [
    # links
    Bug("a gap is not noticed", _RECEIVER + "batch", "number == self.received + 1", "number > self.received"),
    Bug("a copy is taken again", _RECEIVER + "batch", "if number <= self.received:", "if number <= self.received:\n    return True"),
    Bug("a duplicate is acked before its first copy is safe", _RECEIVER + "batch", "self.duplicates += 1", "self.ack(number, now)", only=("worker", "stage", "sink-host")),
    Bug("an ack is one too far", _RECEIVER + "ack", "self._above.add(number)", "self._above.add(number)\nif number < self.received:\n    self._above.add(number + 1)"),
    Bug("silence sends nothing", _SENDER + "tick", "now >= self.next_probe", "False"),
    Bug("a resume leaves out the first that was lost", _SENDER + "_resume", "number > self.received", "number > self.received + 1"),
    Bug("a resume is forgotten", _SENDER + "statement", "self._resume()", "pass"),
    Bug("credit is an increment", _SENDER + "statement", "self.limit_tasks = max(self.limit_tasks, min(st.tasks, self.tasks_sent + MAX_WINDOW))", "self.limit_tasks += st.tasks"),
    Bug("ranges are one too wide", _SENDER + "statement", "min(last, self.sent) + 1)", "min(last + 1, self.sent) + 1)"),
    Bug("what was given back is kept too", _SENDER + "_take_back", "parts[sub] = kept", "pass"),
    Bug("the incarnation is not checked", _RECEIVERS + "batch", "link is None or batch.target != self.me", "link is None", only=("worker", "stage")),
    Bug("whoever greets is taken", _RECEIVERS + "greet", "if greet.source not in self.view.members:", "if False:"),
    Bug("a newer view is not fetched, and the greeting forgotten", _SENDER + "greet", "self.effects.append(Send(self.peer, Greet(self.me, self.peer, self.view)))", "if not self.nonce:\n    self.effects.append(Send(self.peer, Greet(self.me, self.peer, self.view)))\n    self.nonce = 1"),
    Bug("wall time says since when an answer is owed", _SENDER + "_begin_to_owe", "self.heard = now", "self.heard = __import__('time').time()", only=("idle",)),
    Bug("wall time says when to complain again", _SENDERS + "complaints", "now + COMPLAIN_EVERY", "__import__('time').time() + COMPLAIN_EVERY", only=("idle",)),
    Bug("a probe is due since the link was idle", _SENDER + "_begin_to_owe", "self.next_probe = now + self._delay", "self.next_probe = float('inf')", only=("idle",)),
    Bug("nobody complains of a broken link", _SENDERS + "complaints", "link.silent(now) > COMPLAIN_AFTER", "False", only=("idle",)),
    Bug("only the first complaint is made", _SENDERS + "complaints", "self._complain_at = now + COMPLAIN_EVERY", "self._complain_at = float('inf')", only=("idle",)),
    Bug("a complaint is always the first", _COMPLAINTS + "add", "known is None or now - known.last > FORGET_AFTER", "True", only=("idle",)),
    Bug("a complaint that lasts has no vote", _COMPLAINTS + "overdue", "if known.lasts and", "if False and", only=("idle",)),
    Bug("a broken link takes nobody out", _MEMBERS + "cut_off", "if self.membership.remove(member.incarnation) is None:", "if True:", only=("idle",)),
    Bug("wall time says when a complaint was made", _MEMBERS + "broken", 'message.peer, now)', 'message.peer, __import__("time").time())', only=("idle",)),
    Bug("who listens on tcp is not heard from another host", "zturbo_broker.members.places:Places.add", "if not site[1]:", "if True:"),
    Bug("a repeated complaint is not noted", _COMPLAINTS + "add", "known.last = now", "pass", only=("idle",)),
    Bug("wall time says when a probe is due", _SENDER + "tick", "now >= self.next_probe", "__import__('time').time() >= self.next_probe"),
    Bug("wall time says when a statement came", _SENDER + "statement", "self.heard = now", "self.heard = __import__('time').time()", only=("idle",)),
    Bug("wall time says when the next probe is due", _SENDER + "statement", "self.next_probe = now + self._delay", "self.next_probe = __import__('time').time() + self._delay"),
    # riders
    Bug("a batch is acked with its first part", _RECEIVER + "ack", "if number in self._open:", "if self._open.pop(number, None):\n    pass\nif False:"),
    Bug("the riders of a lost peer's batches are forgotten", _SENDER + "abandon", "for part in parts]", "for part in parts[:1]]", only=("worker", "stage")),
    Bug("riders are not released when they are acked", _SENDER + "statement", "acked += retained.pop(number, ())", "acked += retained.pop(number, ())[:1]"),
    Bug("riders have no stamp", _SENDERS + "_send", "batch.stamp = stamp", "batch.stamp = stamp if part is outbatch else None"),
    Bug("of a batch one part alone is taken back", _SENDER + "_take_back", "(number, sub) not in self.taken_back", "not any(number == other for other, _ in self.taken_back)", only=("drain", "stop")),
    Bug("riders go beyond the credit", _SENDERS + "_riders", "if credit < 0 or room < 0", "if room < 0"),
    # custody and senders
    Bug("the count is raised after the first piece left", _SENDERS + "pump", "self.custody.hold(outbatch.origins)\nself._take", "self._take"),
    Bug("an outbatch does not hold its origins", _SENDERS + "put", "self.custody.hold(outbatch.origins)", "pass"),
    Bug("an ack releases twice", _SENDERS + "statement", "for outbatch in acked:\n    self.custody.release(outbatch.origins)", "for outbatch in acked:\n    self.custody.release(outbatch.origins, 2)"),
    Bug("an ack releases nothing", _SENDERS + "statement", "for outbatch in acked:\n    self.custody.release(outbatch.origins)", "for outbatch in acked:\n    pass"),
    Bug("what a lost peer had is forgotten", _SENDERS + "_redeliver", "self._again(outbatch)", "self.custody.release(outbatch.origins)"),
    Bug("what was given back is forgotten", _SENDERS + "statement", "if self._current(rest):\n    self._again(rest)\n    self.returned += rest.size\nelse:\n    self.custody.release(rest.origins)", "self.custody.release(rest.origins)"),
    Bug("a stamp is said on one link alone", _SENDERS + "_send", "if link.stamped.get(batch.job) != stamp.rank:", "if not any(other.stamped.get(batch.job) == stamp.rank for other in self.links.values()):"),
    Bug("what waits does not follow the sink", _SENDERS + "stamp", "elif old.sink != stamp.sink:", "elif False:", only=("sink",)),
    Bug("an ended job's outbatches wait on", _SENDERS + "forget", "self._drop_pending(job, None)", "pass"),
    Bug("an input is finished with its first task", _CUSTODY + "release", "if left > by:", "if left > by + 2:"),
    # a few workers of many
    Bug("a worker is chosen by nobody", "zturbo.core.links.choice:_opposite", "max(most, -(-len(to) // len(froms)))", "most", only=("few",)),
    Bug("all senders choose the same workers", "zturbo.core.links.choice:_opposite", "froms.index(me) * len(to) // len(froms)", "0", only=("few",)),
    Bug("nobody is tried beside the chosen", _CHOICE + "next", "now < self._try_at", "True", only=("few",)),
    Bug("only one is tried", _CHOICE + "next", "self._try_at = now + self._delay", "self._try_at = float('inf')", only=("few",)),
    Bug("one that answers is not used", _CHOICE + "answered", "del self._spare[peer]", "return False", only=("few",)),
    Bug("what a peer has that is let go is forgotten", _SENDERS + "_let_go", "self.links[peer].starved = False", "self.links.pop(peer)", only=("few",)),
    # worker
    Bug("acked on arrival", _WORKER + "_part", "self.feed.add(batch, now)", "self.feed.add(batch, now)\nlink.ack(batch.number, now)"),
    Bug("old epochs leave debt", _FEED + "drop_job", "self._arrivals.drop(part.key, now)", "pass", only=("cancel", "stage", "cancel")),
    Bug("an ended job's inputs are never acked", _WORKER + "produced", "self.arrivals.drop(origin, now)", "pass"),
    Bug("ENDs go to the next stage", _WORKER + "_put", "if after != below:", "if False:"),
    Bug("ENDs are lost where they part from their batch", _WORKER + "_put", "self._send(stamp, marks, origins)", "pass"),
    Bug("credit does not come back", _FEED + "_next_queued", "self._late.append([])\nself._arrivals.leave(part.key, part.n, part.nbytes)", "self._late.append([])"),
    Bug("given back, and run all the same", _FEED + "give_back", "for part in self.queue.give_back():", "for part in self.queue.parts():"),
    Bug("a suspect is given back with what is queued", _QUEUE + "give_back", "out = list(self._items)", "out = self.parts()\nself.aside.clear()", within=("poison", "half-poison", "poisoned-order")),
    Bug("what the code has is given back", _FEED + "reclaimed", "Slice(batch, start + started, stop)", "Slice(batch, start + started - 1, stop)"),
    Bug("what others have sent is dropped with what a lost sender sent", _QUEUE + "drop_senders", "if part.batch.source not in gone:", "if not gone:", only=("worker",)),
    Bug("a return is released before it is taken", _ARRIVALS + "give_back", "link.give_back(number, sub, part.start, now)", "link.give_back(number, sub, part.start, now)\nself.custody.release((part.key,), part.n)"),
    Bug("a new broker is told that nothing is held", "zturbo.core.worker.held_roots:HeldRoots.adopt", "return [(root.job, root.epoch, tuple(root.runs), root.n, root.nbytes) for root in still.values()]", "return []", only=("broker", "broker-after")),
    Bug("a new broker's link begins without its credit", _ARRIVALS + "adopt", "window.leave(tasks, nbytes)", "pass"),
    Bug("jobs share an instance", "zturbo.runtime.code.instances:Instances.job", "instance = self._spare.pop() if self._spare else self._new()", "instance = self.base", within=("sticky", "sticky-first", "twice")),
    Bug("what is finished in any order gives no credit back", _FEED + "finished", "self._shut(origin, tasks)", "pass", within=("async", "async-order")),
    Bug("what is finished in any order gives all credit back at once", _FEED + "_shut", "if left > tasks:", "if False:", within=("async", "async-order")),
    Bug("a coroutine's outputs go out with another's input", _ASYNC + "_begin", "self.production.begin(work)", "first = self.production.origin or work.origin\nself.production.begin(work)\nself.production.origin = first\nself.production.done.setdefault(first, 0)", only=("worker", "stage"), within=("async", "async-order")),
    Bug("what waits of an ended job is never acked", _ASYNC + "job_ended", "self._finish(item.of)", "pass", only=("cancel", "stage"), within=("async", "async-order")),
    Bug("a task of an ended job is not finished", _ASYNC + "_ended", "self._finish(item.of)", "self._stale(item) or self._finish(item.of)", only=("cancel", "stage"), within=("async", "async-order")),
    # sequencer
    Bug("a sequencer refuses for order's sake", _SINK + "_part", "token = self.storing.begin(batch)", "if job.sequencer.buffered > 3:\n    link.received -= 1\n    return\ntoken = self.storing.begin(batch)"),
    Bug("END 0 is not counted", _SEQUENCER + "_close", "parent.done.add(index, index + 1)\nself._buffer(parent", "self._buffer(parent"),
    Bug("complete with the first child", _SEQUENCER + "_closed", "node.done.covers(node.count)", "node.done.covers(min(1, node.count))"),
    Bug("a run that is known in part is taken whole", _SEQUENCER + "enter_run", "for low, high in node.done.missing(start, stop):", "for low, high in [(start, stop)] if node.done.missing(start, stop) else []:"),
    Bug("a failure is released before its children", _SEQUENCER + "_close", "kid.fail = item\nself.buffered += 1", "self._buffer_failure(path, item)\nself.ordered or None\nkid.fail = None"),
    Bug("a new epoch forgets what was released", _SEQUENCER + "keep_prefix", "if node.cursor:\n    node.done.add(0, node.cursor)", "node.cursor = 0", only=("worker", "stage")),
    Bug("a new epoch remembers what was not released", _SEQUENCER + "keep_prefix", "node.done = Intervals()", "pass", only=("worker", "stage"), within=("ordered", "twice", "first")),
    Bug("a losing execution wins late", _SEQUENCER + "_find", "if component in node.done:", "if component in node.done and max(full) < EXECUTION:", only=("worker", "stage"), within=("wild",)),
    Bug("the execution that closes last wins", _SEQUENCER + "_won", "winner = tries.pop(execution, None)", "winner = tries.pop(next(iter(tries), execution), None)", only=("worker", "stage"), within=("wild",)),
    Bug("an execution is released before it is complete", _SEQUENCER + "_find", "kid = node.tries.get(component)", "component = 0\nkid = node.kids.setdefault(0, Node(node, 0))\nnode.tries = None"),
    Bug("of two tasks with one id the first that comes is taken", _WORKER + "_accept_stamp", "Sequencer() if", "Sequencer(ordered=False) if", within=("by-id",)),
    # who reaches whom
    Bug("a newcomer is not tried", _REACH + "may_join", "if new is None:", "if new is None:\n    return True", only=("wall-new",)),
    Bug("one direction is tried", _TRIAL + "__init__", "for way in _both(a.incarnation, b.incarnation)", "for way in [(a.incarnation, b.incarnation)]", only=("wall-new",)),
    Bug("a newcomer is let in though it failed", _REACH + "passed", "if keeps_out:", "if False:", only=("wall-new",)),
    Bug("a newcomer that failed once is given up", _REACH + "_keep_out", "if seconds >= GIVE_UP * self.membership.lease and not proved:", "if True:", only=("wall-new",)),
    Bug("members yield to any newcomer", _REACH + "_judge", "if newcomer_goes(new, there):", "if False:", only=("wall-new",)),
    Bug("the end goes that others reach", _REACH + "_goes", "goes(ends[0], ends[1]).member", "ends[ends[0] is goes(ends[0], ends[1])].member", only=("wall",)),
    Bug("a newcomer that failed is not tried again", _REACH + "passed", "new.retry_at = now + new.wait", "new.retry_at = float('inf')", only=("wall-new",)),
    # sink and results
    Bug("of two results with one id the first that comes is taken", "zturbo.core.sink.job:_sequencer", 'ordered=order != "none"', 'ordered=order == "path"', within=("keyed",)),
    Bug("results whose place nobody has are lost", _SINK_JOB + "_flush", "for failure in failures:", "for failure in ():", within=("keyed", "keyed-order")),
    Bug("acked before it is synced", _SINK + "_part", "token = self.storing.begin(batch)", "link.ack(batch.number, now)\ntoken = self.storing.begin(batch)", only=("sink-host",)),
    Bug("recovered tokens are used again", "zturbo.core.sink.storing:Storing.recovered", "self._token = max(self._token, token)", "pass", only=("sink",)),
    Bug("a recovered batch's failures are lost", _SINK + "recovered", "and batch.size:", "and batch.n:", only=("sink",)),
    Bug("recovery is not told", "zturbo.core.sink.recovered:RecoveredSpool.read", "self.untold = True", "pass", only=("sink",)),
    Bug("a sink drops what is stamped for its predecessor", _SINK + "stamp", "and stamp.spool != self._spool", "", only=("sink", "worker"), within=("poison", "half-poison", "plain", "fan", "flaky")),
    Bug("a root ends before its last result", "zturbo.core.sink.job:SinkJob._release_roots", "self.ends.add(root, self.results.count,", "self.ends.add(root, max([stop for _, stop in self.ends.pairs(len(self.ends) - 1, len(self.ends))] + [self.results.count - 1]),"),
    Bug("a job that travels with others gets the results before its own", "zturbo.core.sink.carried:CarriedJob.between", "self.carrier.between(start + first, start + stop)", "self.carrier.between(max(0, start - 1) + first, max(0, start - 1) + stop)"),
    Bug("a root that enters twice is released twice", "zturbo.core.order.by_root:ByRoot.enter_run", "self._over.missing(start, stop)", "[(start, stop)]", only=("worker", "stage", "stop", "zombie"), within=("plain",)),
    Bug("results of a carrier fit, in whatever order they come again", "zturbo.client.together:Together.fits", "before is None", "True", only=("sink-gone",)),
    Bug("failed tasks of a carried job count as its results", "zturbo.core.sink.job:RootEnds.add", "n - failed", "n"),
    Bug("the last ends of carried jobs are not noted", "zturbo_broker.machine.job_reports:JobReports._ended", "self._note_ended_roots(job, ended)", "pass"),
    Bug("ends of carried jobs are taken after a lost message", "zturbo.client.together:Together.take", "message.first > self.stream.next", "False"),
    Bug("a job in no order starts over when its results are lost", "zturbo_broker.machine.lifecycle:Lifecycle.results_lost", "stamp.order in UNORDERED", "False", only=("sink-gone",), within=("as-they-come", "by-root")),
    Bug("a job that is to fail fast is done after a retry", "zturbo.core.sink.job:SinkJob.start_over", "stamp.fail_fast and self.failure is None", "False", only=("options",), within=("keyed", "keyed-order")),
    Bug("failures are given out though a retry is left", "zturbo_broker.machine.lifecycle:Lifecycle._hold", "if job.retries_left:", "if False:", only=("options",), within=("flaky",)),
    Bug("a retry keeps what a stage that is not deterministic gave", "zturbo.core.sink.job:SinkJob.start_over", "self.sequencer = _sequencer(stamp.order)", "pass", only=("options",), within=("wild",)),
    Bug("failures of a stage that is not deterministic are given out though a retry is left", "zturbo.core.sink.job:SinkJob.release", 'if hold == "success" and self.sequencer.failures():', "if False:", only=("options",), within=("wild",)),
    Bug("roots that are missing at the end are not missed", "zturbo.core.order.by_root:ByRoot._complete", "self._over.covers(self._count)", "True"),
    Bug("results are numbered one too high", "zturbo.core.sink.readers:Readers._serve_segment", "reader.token, first,", "reader.token, first + 1,"),
    Bug("results are let go before they are taken", "zturbo.core.sink.readers:Readers._taken", "job.free(job.cursor)", "job.free(job.released)"),
    Bug("the completion is said once", _REPORTS + "outcome", "job.report_at = now + REPORT_AFTER\ncomplete = ", "job.state = job.state.CONFIRMED\ncomplete = "),
    Bug("wall time says when a completion is said again", _REPORTS + "outcome", "job.report_at = now + REPORT_AFTER\ncomplete = ", "job.report_at = __import__('time').time() + REPORT_AFTER\ncomplete = "),
    Bug("a hole in the results is not noticed", _STREAM + "results", "if message.first > self.next:", "if False:"),
    Bug("copies of results are taken", _STREAM + "results", "skip = self.next - message.first", "skip = 0"),
    # counts
    Bug("wall time says when last counts are said", _ENDED + "add", "self._say_at = now + SAY_AFTER", "self._say_at = __import__('time').time() + SAY_AFTER"),
    Bug("an ordered stage's end counts as a drop", "zturbo.core.worker.job:WorkerJob.count", "(ordered and not end.path)", "False", within=("ordered", "twice", "by-id")),
    Bug("last counts that got lost are not asked for again", _COUNTS + "owed", "member in last.awaited", "False"),
    Bug("last counts that are said twice count twice", _COUNTS + "last", "member.incarnation not in last.awaited", "False"),
    Bug("a question does not wait for last counts", _COUNTS + "waits", "late and", "False and"),
    Bug("a restarted broker does not ask for last counts", _RESTART + "restore", "and not job.counts_final", "and False", only=("broker", "broker-after")),
    # broker
    Bug("a fenced member may come back", "zturbo_broker.members.leases:Membership.join", "if claimed > 0:\n    return None", "pass", only=("zombie",)),
    Bug("restored members have no lease", "zturbo_broker.members.leases:Membership.restore", "now + self.lease", "now", only=("broker", "broker-after")),
    Bug("an ordered worker's loss is overlooked", _DEPARTURES + "_lost", "self.life.wait_again(job)", "pass", only=("worker", "stage")),
    Bug("a lost sink is waited for for ever", _DEPARTURES + "give_up_sinks", "self.life.results_lost(job", "(lambda *_: None)(job", only=("sink-gone",)),
    Bug("a sink that came back is lost for the next broker", _RESTART + "restore", "job.stamp.spool not in spools", "job.stamp.sink not in here", only=("sink", "broker", "broker-after")),
    Bug("a damaged spool is overlooked", _RESTART + "recovered", "damaged = dict.fromkeys(message.damaged)", "damaged = {}", only=("sink-host",)),
    Bug("a recovered sink's jobs are not stamped", _RESTART + "recovered", "self.life.restamp(job, replace", "(lambda *_: None)(job, replace", only=("sink",)),
    Bug("a new stamp has the old revision", _DEPARTURES + "_strike", "revision=stamp.revision + 1", "revision=stamp.revision"),
    Bug("strikes are not counted", "zturbo_broker.jobs.strikes:_strike_alone", "deaths.append((given, death.sentence))", "pass"),
    Bug("a sink is not told again of a job that failed", _LIFE + "remind", "and job.state is JobState.DONE", "", only=("broker-first", "broker-after", "options"), within=("by-id",)),
    Bug("a stamp that got lost is not said again", _LIFE + "remind", "job.stamp.rank > tuple(rank)", "False", only=("sink", "sink", "worker", "stage")),
    Bug("a chunk that is said twice is taken twice", _CLIENTS + "feed", 'elif message.seq < job.fed:', "elif False:"),
    Bug("a chunk that overtakes another is taken", _CLIENTS + "feed", 'elif message.seq > job.fed:', 'elif False:'),
    Bug("a repeated submit is another job", _CLIENTS + "_take", "if known is not None:", "if False:"),
    Bug("the stream's END is forgotten", _ROOTS + "finish", "self.senders.put(OutBatch.of(batch, dest))", "pass"),
    Bug("a chunk goes before all of its roots were taken", _ROOTS + "trim", "seq = job.chunks.find(taken.roots)", "seq = min(len(job.chunks), job.chunks.find(taken.roots) + 1)", only=("sips", "sink-gone", "sink-gone", "worker"), within=("plain", "fan", "batch")),
    Bug("roots go before their results are taken", "zturbo.core.sink.job:SinkJob.trim", "self.roots.take(self.freed)", "self.roots.take(self.released)", only=("sips", "sink-gone", "sink-gone"), within=("plain", "fan", "batch")),
    Bug("a new sink begins with the first result", "zturbo.core.sink.job:SinkJob.of", "job.results.count = job.cursor = job.freed = job.gone = stamp.taken.results", "pass", only=("sips", "sink-gone", "sink-gone"), within=("plain", "fan", "batch")),
    Bug("a new sink waits for roots that were taken", "zturbo.core.sink.job:SinkJob.of", "job.sequencer.begin_at(stamp.taken.roots)", "pass", only=("sips", "sink-gone", "sink-gone"), within=("plain", "fan", "batch")),
    Bug("failures that were taken are not counted", "zturbo.core.sink.job:SinkJob.trim", "self.begun.failed + self.results.failed_before(results)", "0", only=("sips", "sink-gone", "sink-gone"), within=("plain", "fan", "batch")),
    Bug("a pause of a sink's sources does not end by itself", "zturbo.core.sink.pace:Pace.pauses", "elif now >= self._since + LONGEST:", "elif False:", only=("sips", "worker"), within=("plain", "fan", "batch")),
    Bug("a slice of roots is sent twice", _ROOTS + "_send_some", "job.todo[0] = (end, stop)", "job.todo[0] = (max(start + 1, end - 1), stop)"),
    Bug("roots go again without need", _RECOVERY + "entered", "for held in self._held.get(job_id, {}).values():", "for held in ():", only=("broker", "broker-after")),
    Bug("roots of a lost holder are forgotten", _LIFE + "_adopt_orphans", "self.roots.again(job, outbatch.batch.runs)", "pass", only=("broker", "broker", "stop", "first", "first"), within=("plain", "fan", "ordered", "twice")),
    Bug("a new epoch does not begin at the first root", _LIFE + "wait_again", "self.roots.rewind(job)", "pass", only=("worker", "stage")),
    Bug("a failure that was given out may succeed later", "zturbo_broker.machine.restart:stand", "known[(stage, path)] = old._replace(given=count)", "pass", only=("worker", "stage"), within=("flaky",)),
    Bug("what stood before a failure is not counted", _SEQUENCER + "pop", "1, fail, node.count)", "1, fail, 0)", only=("worker", "stage"), within=("flaky",)),
    Bug("a sink is asked once which failures stand", _LIFE + "ask_known_failures", "if now >= at and stamp is not None:", "if False:", only=("worker", "stage", "broker")),
    Bug("an epoch is used twice", _LIFE + "_place", "job.epoch += 1", "job.epoch = max(1, job.epoch)", only=("worker", "stage")),
    Bug("what the ledger has no room for is confirmed", "zturbo_broker.machine.known:Answers.ok", 'Confirm(identity, from_broker.Ok(ref=ref, value=value))', 'Reply(identity, from_broker.Ok(ref=ref, value=value))', only=("disk", "broker", "broker-before")),
]  # fmt: skip
"""All of them."""
