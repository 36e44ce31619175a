"""Partitioned consumers: instances share the partitions of their patterns, each worked by one at a time.

`plan` says who should work what, `leases` (with `session` and `others`) who may, `member` carries it out, `work` is an
ordinary consumption at one partition's own durable place. All of what decides is pure.

- One write a heartbeat and member, none a partition: a partition belongs to a member, and a member to its lease.
- A member believes itself for a shorter time than others wait, counted from before it sent its renewal; who buries it
  does so by compare-and-set, so that a renewal and a burial cannot both succeed. A partition is taken only from one
  that released it or is buried, by compare-and-set again, with the next fence.
- The lease is looked at before each step of a message: handler, dead letter, receipt, acknowledgement, rewind. When it
  runs out, handlers are cancelled. What remains: a process that is stopped in the middle of a handler may, when it
  wakes, finish the step in which it was before it notices, and a thread cannot be cancelled. An effect that must not
  happen twice carries `ReceivedEvent.fence` and is refused where a higher one was seen.
- The replay window of envelopes is kept on each machine: it does not move with a partition.
"""
